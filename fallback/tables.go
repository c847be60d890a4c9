package fallback

import "slices"

// Systems are those that there are tables for. The commands are those of the C
// program, made exact where systems differ:
//
//   - Destinations have four numbers: 128.0.0.0/1 and not 128/1. The route(8)
//     of DragonFly BSD reads "128" as a network of the old class B, and so
//     128/1 as 0.128.0.0/1, which is the other half.
//   - The route to the server has -host: without it, an address that ends in
//     .0 is a network for route(8) of macOS, FreeBSD, DragonFly BSD and NetBSD.
//   - IPv6 has -inet6: only OpenBSD guesses it from the address.
//   - A route is deleted with its gateway: where the kernel compares it, it is
//     ours that goes.
//   - sysctl has -w: that of NetBSD needs it, the others ignore it.
//   - The undo of an address is "delete" on OpenBSD, whose ifconfig(8)
//     discourages "-alias", and "-alias" on the others, which have it first.
var Systems = []System{macOS, openBSD, freeBSD, dragonFly, netBSD}

// common are the lines that are the same on all systems, but for the word that
// takes an address away.
func common(remove string) []Line {
	return []Line{
		{Part: Address, Do: "ifconfig $IF_NAME $LOCAL_TUN_IP $REMOTE_TUN_IP up",
			Undo: "ifconfig $IF_NAME inet $LOCAL_TUN_IP " + remove},
		{Part: Address6, Do: "ifconfig $IF_NAME inet6 $LOCAL_TUN_IP6 $REMOTE_TUN_IP6 prefixlen 128 up",
			Undo: "ifconfig $IF_NAME inet6 $LOCAL_TUN_IP6 " + remove},
	}
}

// client is the table of the client. The routes to the server stand before
// those into the tunnel; on the way down they go after them.
func client(remove string) []Line {
	return append(common(remove),
		route(ServerRoute, "-host", "$EXT_IP", "$EXT_GW_IP"),
		route(ServerRoute6, "-inet6 -host", "$EXT_IP", "$EXT_GW_IP"),
		route(Route, "-net", "0.0.0.0/1", "$REMOTE_TUN_IP"),
		route(Route, "-net", "128.0.0.0/1", "$REMOTE_TUN_IP"),
		route(Route6, "-inet6", "::/1", "$REMOTE_TUN_IP6"),
		route(Route6, "-inet6", "8000::/1", "$REMOTE_TUN_IP6"),
		blackhole("::/1"),
		blackhole("8000::/1"),
	)
}

func route(part Part, modifiers, to, via string) Line {
	words := " " + modifiers + " " + to + " " + via
	return Line{Part: part, Do: "route -n add" + words, Undo: "route -n delete" + words, To: to, Via: via}
}

// blackhole leads nowhere. route(8) wants a gateway that there is a way to, but
// not every kernel keeps it: FreeBSD has the loopback interface instead. So it
// is no part of the undo.
func blackhole(to string) Line {
	return Line{Part: Block6, Do: "route -n add -inet6 -blackhole " + to + " $REMOTE_TUN_IP6",
		Undo: "route -n delete -inet6 " + to, To: to}
}

// server is the table of the server.
func server(remove string, nat ...Line) []Line {
	return slices.Concat([]Line{{Part: Forward, Sysctl: "net.inet.ip.forwarding=1"}}, common(remove), nat)
}

// macOS: its default pf.conf(5) evaluates the anchors below com.apple, and pf
// counts who needs it: pfctl(8) -E switches it on and prints a token, which -X
// gives back.
var macOS = System{
	Name: "darwin", Title: "macOS", Tunnel: "utun",
	Client: client("-alias"),
	Server: server("-alias",
		Line{Part: NAT, Do: "pfctl -a com.apple/dsvpn-$IF_NAME -f -",
			Input: "nat on $EXT_IF_NAME inet from $REMOTE_TUN_IP to any -> ($EXT_IF_NAME)",
			Undo:  "pfctl -a com.apple/dsvpn-$IF_NAME -F nat"},
		Line{Part: NAT, Do: "pfctl -E", Gives: "PF_TOKEN", After: "Token : ", Undo: "pfctl -X $PF_TOKEN"},
	),
	Needs: []Need{{Ask: "pfctl -s nat", Says: `nat-anchor "com.apple/*"`,
		Else: `the rules of pf do not have nat-anchor "com.apple/*", as the pf.conf of the system does`}},
	Hint: "in /etc/pf.conf: nat-anchor \"com.apple/*\"; then pfctl -f /etc/pf.conf, and start again",
}

// openBSD: pf.conf(5) has no anchor that is for all, so the administrator
// decides.
var openBSD = System{
	Name: "openbsd", Title: "OpenBSD", Tunnel: "tun",
	Client: client("delete"),
	Server: server("delete",
		Line{Part: NAT, Do: "pfctl -a dsvpn/$IF_NAME -f -",
			Input: "pass out from $REMOTE_TUN_IP nat-to egress",
			Undo:  "pfctl -a dsvpn/$IF_NAME -F rules"},
	),
	Needs: []Need{
		{Ask: "pfctl -s info", Says: "Status: Enabled", Else: "pf is off (pfctl -e)"},
		{Ask: "pfctl -s rules", Says: `anchor "dsvpn/*"`, Else: `the rules of pf do not have anchor "dsvpn/*"`},
	},
	Hint: "in /etc/pf.conf: pass out from $REMOTE_TUN_IP nat-to egress; or anchor \"dsvpn/*\", " +
		"which dsvpn puts that rule in while it runs",
}

// On the other systems address translation is one of several packet filters,
// none of which is on by default, and none of which has a place for the rules
// of others: the server makes the host a router and leaves the rest to the
// administrator.
var (
	freeBSD = System{
		Name: "freebsd", Title: "FreeBSD", Tunnel: "tun",
		Client: client("-alias"), Server: server("-alias"),
		Hint: "in /etc/pf.conf: nat on $EXT_IF_NAME inet from $REMOTE_TUN_IP to any -> ($EXT_IF_NAME); " +
			"or with ipfw: ipfw nat 1 config if $EXT_IF_NAME, and ipfw add nat 1 ip4 from any to any via $EXT_IF_NAME",
	}
	dragonFly = System{
		Name: "dragonfly", Title: "DragonFly BSD", Tunnel: "tun",
		Client: client("-alias"), Server: server("-alias"),
		Hint: "in /etc/pf.conf: nat on $EXT_IF_NAME inet from $REMOTE_TUN_IP to any -> ($EXT_IF_NAME)",
	}
	netBSD = System{
		Name: "netbsd", Title: "NetBSD", Tunnel: "tun",
		Client: client("-alias"), Server: server("-alias"),
		Hint: "in /etc/npf.conf: map $EXT_IF_NAME dynamic $REMOTE_TUN_IP -> inet4($EXT_IF_NAME)",
	}
)
