package tun

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// The numbers that others use who have run on these systems: wireguard-go's
// tun_freebsd.go for TUNSIFHEAD, and <net/if_tun.h> for the difference to that
// in the lowest byte.
func TestRequests(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		got, want uint32
	}{
		{"FreeBSD's and DragonFly's TUNSIFHEAD", freebsdTUNSIFHEAD, 0x80047460},
		{"FreeBSD's TUNSTRANSIENT", freebsdTUNSTRANSIENT, 0x80047462},
		{"NetBSD's TUNSIFHEAD", netbsdTUNSIFHEAD, 0x80047442},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %#x, want %#x", tt.name, tt.got, tt.want)
		}
	}
}

// The requests are from zerrors_*_amd64.go of golang.org/x/sys/unix, the sizes
// of struct ifreq from each <net/if.h>: a name of 16 bytes and a union as large
// as a sockaddr of 16 bytes, on NetBSD as a sockaddr_storage of 128.
func TestIfreq(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		goos              string
		setMTU, ifdestroy uint
		size              int
	}{
		{"darwin", 0x80206934, 0x80206979, 32},
		{"dragonfly", 0x80206934, 0x80206979, 32},
		{"freebsd", 0x80206934, 0x80206979, 32},
		{"netbsd", 0x8090697f, 0x80906979, 144},
		{"openbsd", 0x8020697f, 0x80206979, 32},
	} {
		want := make([]byte, tt.size)
		copy(want, "tun7")
		if got := ifreq(tt.ifdestroy, "tun7", 0); got != string(want) {
			t.Errorf("%s: ifreq to destroy = %q", tt.goos, got)
		}
		binary.NativeEndian.PutUint32(want[16:], 1400)
		if got := ifreq(tt.setMTU, "tun7", 1400); got != string(want) {
			t.Errorf("%s: ifreq with an MTU = %q", tt.goos, got)
		}
	}
	if long := ifreq(0x80206934, "12345678901234567890", 0); !bytes.Equal([]byte(long[:17]), []byte("123456789012345\x00\x00")) {
		t.Errorf("a name that is too long is not a C string: %q", long)
	}
}
