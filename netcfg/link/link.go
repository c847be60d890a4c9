// Package link programs addresses, link state, routes and policy rules over
// rtnetlink.
//
// The things it programs are plain values: [Address], [Route] and [Rule]. Each
// prints itself as the ip(8) command that a person would type, so that a plan
// can be read on any system; adding and deleting them is for Linux.
//
// Adding reports [ErrExists] for a thing that is there already and deleting
// [ErrGone] for a thing that is not, whatever errno the kernel has for it.
package link

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Protocol is the rtnetlink protocol number (rtm_protocol, FRA_PROTOCOL) on
// every route and rule of ours, by which they are found again. The kernel
// leaves the numbers from 5 up to routing daemons; 69, after the mark 42069,
// is in neither the kernel's list nor that of iproute2.
const Protocol = 69

// UnreachableMetric is the metric of a route that catches what finds no other
// route in a table. The kernel's documentation of VRFs proposes this value: it
// is behind every metric in use, and not the largest possible.
const UnreachableMetric = 4278198272

// TableMain is the number of the main routing table.
const TableMain = 254

var (
	// ErrExists says that a thing to add is there already.
	ErrExists = errors.New("exists already")
	// ErrGone says that a thing to delete is not there.
	ErrGone = errors.New("is gone already")
)

// Family is an address family.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

func (f Family) String() string { return fmt.Sprintf("IPv%d", uint8(f)) }

// ip is the start of the command for the family.
func (f Family) ip() string {
	if f == IPv6 {
		return "ip -6"
	}
	return "ip"
}

// Address is a point-to-point address of an interface.
type Address struct {
	Interface string
	Local     netip.Addr
	Peer      netip.Prefix // the other end; the kernel makes a route to this prefix
}

// Name says which address it is, in an error or a log.
func (a Address) Name() string { return fmt.Sprintf("%s on %s", a.Local, a.Interface) }

func (a Address) String() string {
	family, peer := IPv4, a.Peer.String()
	if a.Local.Is6() {
		family = IPv6
	}
	if a.Peer.IsSingleIP() {
		peer = a.Peer.Addr().String()
	}
	command := fmt.Sprintf("%s addr add %s peer %s dev %s", family.ip(), a.Local, peer, a.Interface)
	if family == IPv6 {
		command += " nodad"
	}
	return command
}

// Route is a default route of a table: out of an interface or, without one,
// to nowhere, which answers every packet with "destination unreachable".
type Route struct {
	Family    Family
	Table     int
	Interface string // empty: unreachable
	Metric    uint32 // 0: the kernel's default
}

// Name says which route it is, in an error or a log.
func (r Route) Name() string {
	kind := "unreachable"
	if r.Interface != "" {
		kind = r.Interface
	}
	return fmt.Sprintf("%s default %s in table %d", r.Family, kind, r.Table)
}

func (r Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s route add ", r.Family.ip())
	if r.Interface == "" {
		b.WriteString("unreachable default")
	} else {
		fmt.Fprintf(&b, "default dev %s", r.Interface)
	}
	fmt.Fprintf(&b, " table %d", r.Table)
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	fmt.Fprintf(&b, " proto %d", Protocol)
	return b.String()
}

// Rule is a policy rule that sends packets to a routing table.
type Rule struct {
	Family   Family
	Priority int
	Table    int
	Mark     uint32 // only packets with this mark; 0: all packets
	NotMark  uint32 // only packets without this mark; 0: all packets
	// SuppressDefault ignores the default routes of the table
	// (suppress_prefixlength 0), so that only its more specific routes count.
	SuppressDefault bool
}

// Name says which rule it is, in an error or a log.
func (r Rule) Name() string { return fmt.Sprintf("%s %d", r.Family, r.Priority) }

func (r Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s rule add", r.Family.ip())
	if r.Mark != 0 {
		fmt.Fprintf(&b, " fwmark %d", r.Mark)
	}
	if r.NotMark != 0 {
		fmt.Fprintf(&b, " not fwmark %d", r.NotMark)
	}
	if r.Table == TableMain {
		b.WriteString(" table main")
	} else {
		fmt.Fprintf(&b, " table %d", r.Table)
	}
	if r.SuppressDefault {
		b.WriteString(" suppress_prefixlength 0")
	}
	fmt.Fprintf(&b, " priority %d protocol %d", r.Priority, Protocol)
	return b.String()
}

// Bypass is a mark that keeps packets out of a tunnel of somebody else's.
type Bypass struct {
	Family Family
	Mark   uint32
}

// Interface is a network interface and its addresses.
type Interface struct {
	Name  string
	Addrs []netip.Prefix
}

// Uplink is a default route of the main table.
type Uplink struct {
	Family    Family
	Interface string
	Gateway   netip.Addr // invalid where the route has none
	Metric    uint32
}
