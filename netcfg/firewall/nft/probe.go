//go:build linux

package nft

import (
	"net/netip"

	"dsvpn/netcfg/firewall"
)

// probePolicy makes use of every kind of chain, match and verdict that there
// is. Its addresses are for documentation (RFC 5737, RFC 3849).
var probePolicy = firewall.Policy{
	Protect: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	Forward: &firewall.Forward{
		Uplink:  "lo",
		Source:  netip.MustParseAddr("192.0.2.2"),
		Source6: netip.MustParsePrefix("2001:db8::/96"),
		Block6:  true,
	},
	KillSwitch: &firewall.KillSwitch{Mark: 1},
	Bypass:     firewall.Bypass{Mark: 1, Answers: true, Inbound: []string{"lo"}},
}
