package link

import "net/netip"

// Entry is a route as the routing socket of macOS and the BSDs shows it.
type Entry struct {
	To        netip.Prefix
	Via       netip.Addr // the gateway; invalid where that is not an IP address
	Interface string

	Static    bool // somebody has added it, with route(8) for example
	Blackhole bool // it leads nowhere, with or without an answer
	Scoped    bool // macOS: it is only for sockets that are bound to its interface
}

// mask is a netmask as a routing message has it: nil where there is none.
type mask []byte

// prefix makes a destination of an address and a netmask. A route to a host has
// none, and so has a default route on some systems. It is no destination if the
// netmask has holes.
func prefix(to netip.Addr, m mask, host bool) (netip.Prefix, bool) {
	bits := 0
	switch {
	case host, m == nil && !to.IsUnspecified():
		bits = to.BitLen()
	case m != nil:
		var ok bool
		if bits, ok = m.ones(); !ok || bits > to.BitLen() {
			return netip.Prefix{}, false
		}
	}
	return netip.PrefixFrom(to.WithZone(""), bits).Masked(), true
}

// ones counts the bits in front, and reports whether there are none behind a
// zero.
func (m mask) ones() (n int, ok bool) {
	end := false
	for _, b := range m {
		for bit := byte(0x80); bit != 0; bit >>= 1 {
			switch {
			case b&bit == 0:
				end = true
			case end:
				return 0, false
			default:
				n++
			}
		}
	}
	return n, true
}

// Defaults are the default routes among entries, in their order, which is that
// of preference: the kernel lists the better of two first. A route that is for
// some sockets only or leads nowhere is none.
func Defaults(entries []Entry) (uplinks []Uplink) {
	for _, e := range entries {
		if e.To.Bits() != 0 || e.Scoped || e.Blackhole || e.Interface == "" {
			continue
		}
		family := IPv4
		if e.To.Addr().Is6() {
			family = IPv6
		}
		uplinks = append(uplinks, Uplink{Family: family, Interface: e.Interface, Gateway: e.Via})
	}
	return uplinks
}
