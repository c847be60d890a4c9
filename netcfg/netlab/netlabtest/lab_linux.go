package netlabtest

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dsvpn/netcfg/netlab"
)

// New returns a lab that is closed with the test. The test is skipped, by
// [Skip], where labs or tun devices cannot be had.
func New(t testing.TB) *netlab.Lab {
	t.Helper()
	node, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		Skip(t, err.Error())
	}
	node.Close()
	lab, err := netlab.New()
	if err != nil {
		Skip(t, err.Error())
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	return lab
}

// Host adds a host to the lab.
func Host(t testing.TB, lab *netlab.Lab, name string) *netlab.Host {
	t.Helper()
	h, err := lab.Host(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Snapshot returns [netlab.Host.Snapshot].
func Snapshot(t testing.TB, h *netlab.Host) string {
	t.Helper()
	s, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Unchanged fails the test when the host does not look at its end as it looks
// now, and shows the difference. What has to be gone by then must be cleaned
// up by functions registered later, or deferred.
func Unchanged(t testing.TB, h *netlab.Host) {
	t.Helper()
	before := lines(Snapshot(t, h))
	t.Cleanup(func() {
		if diff := cmp.Diff(before, lines(Snapshot(t, h))); diff != "" {
			t.Errorf("host %s has changed (-before +after):\n%s", h.Name(), diff)
		}
	})
}

// lines splits a snapshot, so that a difference shows whole lines.
func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
