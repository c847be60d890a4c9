package link

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPrefix(t *testing.T) {
	for _, tt := range []struct {
		to   string
		mask mask
		host bool
		want string // empty: none
	}{
		{"0.0.0.0", nil, false, "0.0.0.0/0"},
		{"0.0.0.0", mask{0, 0, 0, 0}, false, "0.0.0.0/0"},
		{"0.0.0.0", mask{0x80, 0, 0, 0}, false, "0.0.0.0/1"},
		{"128.0.0.0", mask{0x80, 0, 0, 0}, false, "128.0.0.0/1"},
		{"192.0.2.7", nil, true, "192.0.2.7/32"},
		{"192.0.2.7", nil, false, "192.0.2.7/32"},
		{"192.0.2.7", mask{255, 255, 255, 0}, true, "192.0.2.7/32"},
		{"192.0.2.7", mask{255, 255, 255, 0}, false, "192.0.2.0/24"},
		{"10.0.0.0", mask{255, 0, 255, 0}, false, ""},
		{"10.0.0.0", make(mask, 16), false, "0.0.0.0/0"},
		{"10.0.0.0", slices.Repeat(mask{255}, 16), false, ""},
		{"::", make(mask, 16), false, "::/0"},
		{"8000::", append(mask{0x80}, make(mask, 15)...), false, "8000::/1"},
		{"fe80::1%em0", nil, true, "fe80::1/128"},
	} {
		got, ok := prefix(netip.MustParseAddr(tt.to), tt.mask, tt.host)
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("%s with %v, host %v: %v, %v, want %s", tt.to, tt.mask, tt.host, got, ok, tt.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	to, via := netip.MustParsePrefix, netip.MustParseAddr
	got := Defaults([]Entry{
		{To: to("0.0.0.0/1"), Via: via("192.168.192.254"), Interface: "tun0", Static: true},
		{To: to("0.0.0.0/0"), Via: via("192.0.2.9"), Interface: "en5", Scoped: true},
		{To: to("0.0.0.0/0"), Via: via("192.0.2.1"), Interface: "en0", Static: true},
		{To: to("0.0.0.0/0"), Via: via("198.51.100.1"), Interface: "en1", Static: true},
		{To: to("192.0.2.7/32"), Via: via("192.0.2.1"), Interface: "en0"},
		{To: to("::/0"), Via: via("::1"), Interface: "lo0", Blackhole: true},
		{To: to("::/0"), Via: via("fe80::1%en0"), Interface: "en0"},
		{To: to("::/0"), Interface: "ppp0"},
		{To: to("::/0"), Via: via("fe80::2%en0")},
	})
	want := []Uplink{
		{Family: IPv4, Interface: "en0", Gateway: via("192.0.2.1")},
		{Family: IPv4, Interface: "en1", Gateway: via("198.51.100.1")},
		{Family: IPv6, Interface: "en0", Gateway: via("fe80::1%en0")},
		{Family: IPv6, Interface: "ppp0"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("default routes are %v, want %v", got, want)
	}
}
