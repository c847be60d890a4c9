package tun

import (
	"context"
	"strings"
	"testing"
)

func TestOpenChecksArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		mtu  int
		want string
	}{
		{"a/b", 1500, "interface name"},
		{Auto, 67, "out of range"},
		{"", 65536, "out of range"},
	} {
		d, err := Open(context.Background(), tt.name, tt.mtu)
		if err == nil || d != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Open(%q, %d) = %v, %v", tt.name, tt.mtu, d, err)
		}
	}
}
