//go:build linux

package nft

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall"
)

// neighbourhood is where neighbour discovery (RFC 4861) sends its packets.
var neighbourhood = []netip.Prefix{linkLocal, netip.MustParsePrefix("ff02::/16")}

// killSwitch are the chains that let nothing leave the host but through the
// tunnel, whatever the routes say. They stay in force when the program is
// killed, since tables do not die with processes.
func killSwitch(iface string, k *firewall.KillSwitch) []chain {
	if k == nil {
		return nil
	}
	local := [][]term{
		{oifname(expr.CmpOpEq, "lo"), accept()},
		{packetMark(k.Mark), accept()},
		{udpPorts(68, 67), accept()},   // DHCP (RFC 2131)
		{udpPorts(546, 547), accept()}, // DHCP for IPv6 (RFC 8415)
	}
	for _, p := range neighbourhood {
		local = append(local, []term{isICMPv6(), daddr(expr.CmpOpEq, p), accept()})
	}
	return []chain{{
		name: "killswitch-out", kind: nftables.ChainTypeFilter,
		hook: nftables.ChainHookOutput, priority: nftables.ChainPriorityFilter,
		rules: append(local, onlyTunnel(iface, k)...),
	}, {
		name: "killswitch-forward", kind: nftables.ChainTypeFilter,
		hook: nftables.ChainHookForward, priority: nftables.ChainPriorityFilter,
		rules: append([][]term{{iifname(expr.CmpOpEq, iface), accept()}}, onlyTunnel(iface, k)...),
	}}
}

// onlyTunnel lets packets go into the tunnel and to the networks that the
// operator allows, and refuses all others.
func onlyTunnel(iface string, k *firewall.KillSwitch) [][]term {
	rules := [][]term{{oifname(expr.CmpOpEq, iface), accept()}}
	for _, p := range k.Allowed {
		rules = append(rules, []term{daddr(expr.CmpOpEq, p), accept()})
	}
	return append(rules, []term{counter(), reject()})
}

// udpPorts matches UDP packets between two ports, which stand side by side in
// the header and are compared at once, as nft(8) does.
func udpPorts(source, dest uint16) term {
	return term{fmt.Sprintf("udp sport %d udp dport %d", source, dest), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, compare(expr.CmpOpEq, []byte{unix.IPPROTO_UDP}),
		&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Len: 4},
		compare(expr.CmpOpEq, []byte{byte(source >> 8), byte(source), byte(dest >> 8), byte(dest)}),
	}}
}

func isICMPv6() term {
	return term{"meta l4proto ipv6-icmp", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg}, compare(expr.CmpOpEq, []byte{unix.IPPROTO_ICMPV6}),
	}}
}
