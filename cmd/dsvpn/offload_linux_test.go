package main

import (
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// tcpdump finds every checksum right of what an end has cut, or has merged and
// the kernel has cut again.
func TestChecksums(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "tcpdump")
	for _, tt := range []struct {
		name, server, client string // offloads
		down                 bool
	}{
		{"cut by the client", "off", "auto", false},
		{"cut by the client, merged by the server", "auto", "auto", false},
		{"cut by the server", "auto", "off", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			wantHostsUnchanged(t, tr)
			check(t, tr.server.Do(func() error { return noChecksumOffload("uplink") }))
			startServer(t, tr, "--offload", tt.server)
			startClient(t, tr, "--offload", tt.client)
			serveExchange(t, tr, tr.internet, "")
			const size = 16 << 20
			if tt.down {
				wantRightChecksums(t, tr.client, "tun0", func() error {
					return exchange(mustDial(t, tr.client, "tcp", internetIP, portExchange), 1, 0, size)
				})
			} else {
				wantRightChecksums(t, tr.internet, "wire", func() error {
					return exchange(mustDial(t, tr.client, "tcp", internetIP, portExchange), 1, size, 0)
				})
			}
		})
	}
}

// wantRightChecksums runs what sends TCP to a host, and fails the test unless
// all that tcpdump sees come in on an interface is intact.
func wantRightChecksums(t *testing.T, h *netlab.Host, iface string, send func() error) {
	t.Helper()
	const packets = 2000
	dump := h.Command(t.Context(), "tcpdump", "-i", iface, "-Q", "in", "-nn", "-vv", "-c", "2000", "tcp")
	var ready logBuffer
	var seen strings.Builder
	dump.Stderr, dump.Stdout = &ready, &seen
	check(t, dump.Start())
	for !ready.contains("listening on") {
		<-ready.grown()
	}
	check(t, send())
	if err := dump.Wait(); err != nil {
		t.Fatalf("tcpdump: %v: %s", err, ready.String())
	}
	if right := strings.Count(seen.String(), "(correct)"); right != packets || strings.Contains(seen.String(), "incorrect") || strings.Contains(seen.String(), "bad cksum") {
		t.Errorf("%d of %d checksums are right:\n%.3000s", right, packets, seen.String())
	}
}

// noChecksumOffload makes an interface send no packet whose checksum is yet to
// be made, which nobody does on a cable in the lab, and none that is yet to be
// cut. It is what ethtool -K does.
func noChecksumOffload(name string) error {
	const setTXChecksum = 0x17 // ETHTOOL_STXCSUM
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	value := struct{ command, data uint32 }{setTXChecksum, 0}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte // the rest of the union
	}{value: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
