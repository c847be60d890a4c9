package tun

import (
	"runtime"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	numbered := []string{"", "tun", "utun", "tun-1", "tun+1", "tun01", "tun0x1", "tun1 ", "tun32768", "tun99999999999", "vpn0", "../tun0", "TUN0", "tun1/2"}
	for _, tt := range []struct {
		goos      string
		good, bad []string
		form      string // what the error shows
	}{
		{"linux",
			[]string{"tun0", "a", "dsvpn.1", "x-y_z", "é", "123456789012345"},
			[]string{"", ".", "..", "all", "default", "1234567890123456",
				"a/b", "a:b", "tun%d", "a b", "a\tb", "a\nb", "a\u00a0b", "à", "a\x00b"},
			"15 bytes"},
		{"darwin", []string{"utun0", "utun9", "utun32767"}, append(numbered, "tun0", "utun32768", "utun00"), "utunN"},
		{"freebsd", []string{"tun0", "tun31", "tun32767"}, append(numbered, "utun0"), "tunN"},
		{"openbsd", []string{"tun0"}, append(numbered, "utun0"), "tunN"},
		{"netbsd", []string{"tun0"}, append(numbered, "utun0"), "tunN"},
		{"dragonfly", []string{"tun0"}, append(numbered, "utun0"), "tunN"},
	} {
		for _, name := range tt.good {
			if err := checkName(tt.goos, name); err != nil {
				t.Errorf("checkName(%s, %q) = %v", tt.goos, name, err)
			}
		}
		for _, name := range tt.bad {
			if err := checkName(tt.goos, name); err == nil {
				t.Errorf("checkName(%s, %q) = nil", tt.goos, name)
			} else if !strings.Contains(err.Error(), tt.form) {
				t.Errorf("checkName(%s, %q) = %v: does not show the right form", tt.goos, name, err)
			}
		}
	}
}

// The exported check is that of this system.
func TestCheckNameHere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tun0", "utun0", "vpn", "a/b"} {
		if got, want := CheckName(name), checkName(runtime.GOOS, name); (got == nil) != (want == nil) {
			t.Errorf("CheckName(%q) = %v, want %v", name, got, want)
		}
	}
}

func TestCheckMTU(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		goos      string
		low, high int
	}{
		{"linux", 68, 65535}, {"darwin", 72, 65535}, {"freebsd", 72, 16380},
		{"dragonfly", 72, 16380}, {"openbsd", 68, 16384}, {"netbsd", 576, 1500},
	} {
		for mtu, ok := range map[int]bool{tt.low - 1: false, tt.low: true, tt.high: true, tt.high + 1: false, 0: false, -1: false} {
			if err := checkMTU(tt.goos, mtu); (err == nil) != ok {
				t.Errorf("checkMTU(%s, %d) = %v", tt.goos, mtu, err)
			}
		}
	}
}
