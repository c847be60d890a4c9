package tun

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	netlabtest.Unchanged(t, h)
	for _, tt := range []struct {
		name, want string
		mtu        int
	}{
		{"", "tun0", MinMTU}, {Auto, "tun1", 1500}, {"tun3", "tun3", 9000}, {"123456789012345", "123456789012345", MaxMTU},
	} {
		d, err := openOn(t, h, tt.name, tt.mtu)
		check(t, err)
		if d.Name() != tt.want {
			t.Errorf("Open(%q) made %q, want %q", tt.name, d.Name(), tt.want)
		}
		if got := mtuOf(t, h, d.Name()); got != tt.mtu {
			t.Errorf("the MTU of %s is %d, want %d", d.Name(), got, tt.mtu)
		}
	}
}

// The predecessor ends while we wait.
func TestBusyForAMoment(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	old, err := openOn(t, h, "tun7", 1500)
	check(t, err)
	time.AfterFunc(200*time.Millisecond, func() { old.Close() })
	start := time.Now()
	_, err = openOn(t, h, "tun7", 1500)
	check(t, err)
	if waited := time.Since(start); waited < 200*time.Millisecond || waited > 2*time.Second {
		t.Errorf("Open took %v", waited)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	_, err := openOn(t, h, "tun7", 1500)
	check(t, err)

	start := time.Now()
	_, err = openOn(t, h, "tun7", 1500)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "interface tun7 is in use by another program") {
		t.Errorf("Open = %v", err)
	}
	if waited := time.Since(start); waited < busyFor {
		t.Errorf("Open gave up after %v", waited)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	err = h.Do(func() error {
		_, err := Open(ctx, "tun7", 1500)
		return err
	})
	if !errors.Is(err, unix.EBUSY) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Open with a context that ends = %v", err)
	}
	if waited := time.Since(start); waited > time.Second {
		t.Errorf("Open went on for %v", waited)
	}
}

func TestOtherInterface(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	_, err := openOn(t, h, "lo", 1500)
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "interface lo exists already") {
		t.Errorf("Open = %v", err)
	}
}

// addPersistent does what ip tuntap add does.
func addPersistent(t *testing.T, h *netlab.Host, name string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, Flags: unix.IFF_NO_PI | netlink.TUNTAP_ONE_QUEUE}
	check(t, h.Do(func() error { return netlink.LinkAdd(link) }))
}

// An interface made in advance is taken as it is, and given back so.
func TestPersistent(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	addPersistent(t, h, "vpn")
	check(t, h.AddAddr("vpn", near))
	check(t, h.SetUp("vpn"))
	before := netlabtest.Snapshot(t, h)
	d, err := openOn(t, h, "vpn", 1400)
	check(t, err)
	if got := mtuOf(t, h, "vpn"); got != 1400 {
		t.Errorf("the MTU is %d", got)
	}
	exchange(t, d, socket(t, h))
	check(t, d.Close())
	check(t, d.Close())

	if diff := cmp.Diff(before, netlabtest.Snapshot(t, h)); diff != "" {
		t.Errorf("the interface has changed (-before +after):\n%s", diff)
	}

	d, err = openOn(t, h, "vpn", 1400)
	check(t, err)
	check(t, h.DelLink("vpn"))
	check(t, d.Close()) // there is nothing to give back
}

// What CheckName allows, the kernel takes, and nothing else.
func TestCheckNameAgreesWithKernel(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d, err := openOn(t, h, "", 1500)
	check(t, err)
	names := []string{".", "..", "...", "123456789012345", "1234567890123456", "é", "à", "tun%d"}
	for b := range 256 {
		if b != 0 { // ends the name, and the kernel sees the rest as absent
			names = append(names, "a"+string([]byte{byte(b)})+"b")
		}
	}
	check(t, h.Do(func() error {
		link, err := netlink.LinkByName(d.Name())
		if err != nil {
			return err
		}
		for _, name := range names {
			kernel := netlink.LinkSetName(link, name)
			if strings.Contains(name, "%") {
				kernel = unix.EINVAL // it makes another name of this one
			}
			if ours := CheckName(name); (ours == nil) != (kernel == nil) {
				t.Errorf("CheckName(%q) = %v, the kernel says %v", name, ours, kernel)
			}
		}
		return nil
	}))
}

// Not parallel: it changes the path of the device.
func TestMissingDevice(t *testing.T) {
	h := newHost(t)
	defer func(path string) { cloneDevice = path }(cloneDevice)
	cloneDevice = filepath.Join(t.TempDir(), "tun")
	_, err := openOn(t, h, "", 1500)
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "modprobe tun") || !strings.Contains(err.Error(), "--device /dev/net/tun") {
		t.Errorf("Open = %v", err)
	}
}

// Capabilities belong to the thread, so a host can lose its own. Not
// parallel: it changes the path of the device.
func TestNoPermission(t *testing.T) {
	h := newHost(t)
	addPersistent(t, h, "own")
	check(t, h.Do(func() error {
		none := make([]unix.CapUserData, 2)
		return unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0])
	}))
	_, err := openOn(t, h, "", 1500)
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "--cap-add=NET_ADMIN") {
		t.Errorf("Open without CAP_NET_ADMIN = %v", err)
	}
	d, err := openOn(t, h, "own", 1500)
	if err != nil || d.Name() != "own" {
		t.Errorf("Open of an interface that belongs to the user = %v", err)
	}
	defer func(path string) { cloneDevice = path }(cloneDevice)
	cloneDevice = filepath.Join(t.TempDir(), "tun")
	check(t, os.WriteFile(cloneDevice, nil, 0))
	_, err = openOn(t, h, "", 1500)
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "--device /dev/net/tun") {
		t.Errorf("Open of a closed file = %v", err)
	}
}
