//go:build linux

package nft

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"dsvpn/netcfg/firewall"
)

// bypass are the chains that keep connections outside the tunnel. They come
// behind connection tracking and before the routing decision: on the way in
// for the reverse-path filter, on the way out, in a chain of type route, for
// the route itself.
func bypass(iface string, b firewall.Bypass) []chain {
	if !b.Answers && len(b.Inbound) == 0 {
		return nil
	}
	in := chain{name: "bypass-in", kind: nftables.ChainTypeFilter,
		hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityMangle}
	out := chain{name: "bypass-out", kind: nftables.ChainTypeRoute,
		hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityMangle}
	for _, uplink := range b.Inbound {
		in.rules = append(in.rules, []term{iifname(expr.CmpOpEq, uplink), isNew(), setConnMark(b.Mark)})
	}
	in.rules = append(in.rules, []term{iifname(expr.CmpOpNeq, iface), connMark(b.Mark), setPacketMark()})
	if b.Answers {
		out.rules = append(out.rules, []term{packetMark(b.Mark), setConnMark(b.Mark)})
	}
	if len(b.Inbound) > 0 {
		out.rules = append(out.rules, []term{connMark(b.Mark), setPacketMark()})
	}
	return []chain{in, out}
}
