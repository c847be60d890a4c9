package tun

import (
	"context"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"tun0", "a", "dsvpn.1", "x-y_z", "é", "123456789012345"} {
		if err := CheckName(name); err != nil {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	for _, name := range []string{
		"", ".", "..", "all", "default", "1234567890123456",
		"a/b", "a:b", "tun%d", "a b", "a\tb", "a\nb", "a\u00a0b", "à", "a\x00b",
	} {
		if err := CheckName(name); err == nil {
			t.Errorf("CheckName(%q) = nil", name)
		} else if !strings.Contains(err.Error(), "15 bytes") {
			t.Errorf("CheckName(%q) = %v: does not say what is allowed", name, err)
		}
	}
}

func TestOpenChecksArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		mtu  int
		want string
	}{
		{"a/b", 1500, "slash"},
		{"tun0", 67, "68 to 65535"},
		{"tun0", 65536, "68 to 65535"},
	} {
		d, err := Open(context.Background(), tt.name, tt.mtu)
		if err == nil || d != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q, %d) = %v, %v", tt.name, tt.mtu, d, err)
		}
	}
}
