package netcfg

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/netlab/netlabtest"
)

// What somebody else makes of the name servers stays, and the log says so: the
// host is put back as far as it is ours.
func TestNameServersChangedByOthers(t *testing.T) {
	netlabtest.Mounts(t)
	must(t, unix.Mount("tmpfs", "/etc", "tmpfs", 0, "mode=755"))
	const theirs = "nameserver 192.0.2.53\n"
	for _, changed := range []bool{false, true} {
		must(t, os.WriteFile(dns.ResolvConf, []byte(theirs), 0o644))
		var log bytes.Buffer
		plan := Plan{Interface: "tun0"}
		plan.add(SetDNS{dns.Setting{Way: dns.File, Interface: "tun0", Servers: nameServers("10.0.0.1")}})
		applied, err := Apply(t.Context(), plan, slog.New(slog.NewTextHandler(&log, nil)))
		must(t, err)
		want := theirs
		if changed {
			want = "nameserver 198.51.100.53\n"
			must(t, os.WriteFile(dns.ResolvConf, []byte(want), 0o644))
		}
		must(t, applied.Undo())
		if got, err := os.ReadFile(dns.ResolvConf); err != nil || string(got) != want {
			t.Errorf("after Undo: %q, %v, want %q", got, err, want)
		}
		if said := strings.Contains(log.String(), dns.ErrChanged.Error()); said != changed {
			t.Errorf("changed: %v, and the log says\n%s", changed, log.String())
		}
	}
}
