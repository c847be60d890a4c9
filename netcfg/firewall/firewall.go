// Package firewall says what a tunnel needs of the host's packet filter. The
// packages below it program that, each with another of the kernel's filters.
package firewall

import (
	"fmt"
	"net/netip"
)

// Policy is what a tunnel needs of the packet filter.
type Policy struct {
	Interface string // the tunnel interface; a policy belongs to it

	// Protect lists this end's tunnel addresses. Nobody reaches them but
	// through the tunnel or from the host itself.
	Protect []netip.Addr

	// Forward is what a server does with the packets of its clients; nil on
	// a client.
	Forward *Forward

	// Bypass keeps connections that do not go through the tunnel on their
	// way; the zero value on a server.
	Bypass Bypass

	// KillSwitch lets nothing leave a client's host but through the tunnel;
	// nil is none.
	KillSwitch *KillSwitch
}

// KillSwitch says what may leave a host besides what goes into the tunnel,
// to the host itself, and what hosts need to find their own address and their
// neighbours (DHCP, neighbour discovery).
type KillSwitch struct {
	Mark    uint32         // of the tunnel's own packets
	Allowed []netip.Prefix // networks that may be reached past the tunnel
}

// Bypass marks the packets of connections that do not go through a client's
// tunnel, in both directions, by means of the mark of the connection.
type Bypass struct {
	Mark uint32 // of packets that stay outside the tunnel

	// Answers gives the mark to answers to the tunnel's own connection. Strict
	// reverse-path filtering drops them without it, since it sees that an
	// unmarked packet to where they come from would go into the tunnel.
	Answers bool

	// Inbound lists the uplinks on which connections come in from outside;
	// what the host answers to them leaves with the mark.
	Inbound []string
}

// Forward makes clients reach the world behind an uplink, and only that.
type Forward struct {
	Uplink string // interface with the default route

	// Source is the client's tunnel address: what comes out of the tunnel
	// with another one is forged and dropped; what leaves by the uplink with
	// this one is masqueraded.
	Source netip.Addr

	// Source6 has the IPv6 addresses that may come out of the tunnel; the
	// zero value where IPv6 is left alone.
	Source6 netip.Prefix

	// Block6 forwards no IPv6 between the tunnel and anything else.
	Block6 bool
}

// Tunnels6 reports whether IPv6 is forwarded.
func (f Forward) Tunnels6() bool { return f.Source6.IsValid() && !f.Block6 }

// Chain is a chain of somebody else's that may drop what the tunnel forwards.
// An accept in a chain of our own is not final: the packet still goes through
// every other chain at the same hook. So rules that accept it have to be
// guests there.
type Chain struct {
	Family      string // as nft(8) calls it: ip, ip6 or inet
	Table, Name string
	// Legacy says that the chain belongs to the older packet filter, which
	// the kernel asks too and which only iptables-legacy shows.
	Legacy bool
}

func (c Chain) String() string {
	s := fmt.Sprintf("%s %s %s", c.Family, c.Table, c.Name)
	if c.Legacy {
		s += " (legacy)"
	}
	return s
}

// Firewall programs policies, at most one for an interface. Everything that it
// makes bears our mark, whatever way it was made.
type Firewall interface {
	// Install programs a policy as a whole, in place of an older one for the
	// same interface. After an error nothing of it is there.
	Install(Policy) error
	// Intact reports whether all of a policy is there that Install would
	// make now: also what a neighbour has since given reason for. It looks and
	// changes nothing.
	Intact(Policy) (bool, error)
	// Remove takes the policy for an interface away, whichever kind of
	// firewall has made it. Where there is none, it does nothing.
	Remove(iface string) error
	// Owned lists the interfaces that something with our mark is there for, in
	// the rule set that is this kind's own: nftables, whoever wrote that, or
	// the older packet filter. All kinds together find everything.
	Owned() ([]string, error)
	// Neighbours finds the chains that get guests. It may find some and
	// still return an error, about those that are out of reach.
	Neighbours() ([]Chain, error)
	// Script is the command that a person would type for Install, on a host
	// with these neighbours.
	Script(Policy, []Chain) string
	// Probe proves that policies can be programmed on this host, by doing it;
	// nothing of that is ever in force. It says by what means.
	Probe() (means string, err error)
}
