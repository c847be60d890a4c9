package netcfg

import (
	"fmt"
	"net/netip"
)

// Role tells which end of the tunnel this host is.
type Role uint8

// The two ends of a tunnel.
const (
	Client Role = iota + 1
	Server
)

func (r Role) String() string {
	switch r {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// IPv6Mode says what happens to the host's IPv6 while the tunnel is up. On
// the client it is about what would leave the host, on the server about what
// comes out of the tunnel.
type IPv6Mode string

const (
	// IPv6Block lets no IPv6 past the tunnel and none through it but between
	// its two ends, and answers with an error at once, so that applications
	// turn to IPv4 instead of waiting.
	IPv6Block IPv6Mode = "block"
	// IPv6Tunnel sends IPv6 through the tunnel like IPv4.
	IPv6Tunnel IPv6Mode = "tunnel"
	// IPv6Off leaves the host's IPv6 alone: on a client it goes past the
	// tunnel.
	IPv6Off IPv6Mode = "off"
)

// FirewallKind names what the packet filter rules are programmed with.
type FirewallKind string

const (
	// FirewallAuto takes the first kind that works on this host.
	FirewallAuto FirewallKind = "auto"
	// FirewallNFT is nftables, programmed over netlink.
	FirewallNFT FirewallKind = "nft"
	// FirewallIPTables is iptables, either of its kinds, by its programs.
	FirewallIPTables FirewallKind = "iptables"
	// FirewallNone programs no packet filter: the operator has their own.
	FirewallNone FirewallKind = "none"
)

// Defaults of the C program, and of this one.
const (
	// DefaultMark is the mark (SO_MARK) of the tunnel's own TCP socket, which
	// keeps it out of the tunnel, and the number of the routing table that
	// everything else uses.
	DefaultMark = 42069
	// DefaultTable is the routing table that sends packets into the tunnel.
	DefaultTable = 42069
	// DefaultRulePriority is the priority of the first of two policy rules;
	// the second stands right behind it. It lies behind the rules of other
	// VPNs and of NetworkManager (30862) and before the main table (32766).
	DefaultRulePriority = 31000
	// DefaultMTU is the MTU of the tunnel interface, in bytes. An IP packet
	// of that size is one frame.
	DefaultMTU = 9000
	// DefaultCongestion is the TCP congestion control that suits a tunnel.
	DefaultCongestion = "bbr"
)

// Addresses that are used when none are given: those of the C program.
var (
	DefaultServerAddr = netip.MustParseAddr("192.168.192.254")
	DefaultClientAddr = netip.MustParseAddr("192.168.192.1")
	// DefaultPrefix6 is put in front of a tunnel IPv4 address to make its
	// IPv6 address. It is the well-known prefix of NAT64 (RFC 6052), and so
	// collides with a real one on networks that have it.
	DefaultPrefix6 = netip.MustParsePrefix("64:ff9b::/96")
)

// Config says what the host must look like while a tunnel is up.
type Config struct {
	Role      Role
	Interface string // the tunnel interface, which exists already when a plan is applied
	MTU       int    // of that interface, in bytes

	Local, Remote netip.Addr   // IPv4 addresses of this end and of the other
	Prefix6       netip.Prefix // a /96: the IPv6 address is this prefix and the IPv4 address

	// PointToPoint leaves out every route, policy rule, packet filter rule
	// and sysctl: only the interface gets its addresses.
	PointToPoint bool

	Firewall FirewallKind
	IPv6     IPv6Mode

	// Uplink is the interface that a server masquerades on; empty means that
	// of the default route.
	Uplink string

	// Client only.
	Mark         uint32 // the mark of the sockets that must stay outside the tunnel
	Table        int    // the routing table that leads into the tunnel
	RulePriority int    // of the first of two policy rules
	Congestion   string // TCP congestion control for the host, such as "bbr"; empty leaves it as it is

	// KeepInbound lets what the host answers to connections from outside leave
	// by the uplink instead of the tunnel.
	KeepInbound bool
	// KillSwitch lets nothing leave the host but what goes into the tunnel,
	// what is marked, and what goes to the networks in Allowed. Unlike the
	// routes it cannot be got round by other routes.
	KillSwitch bool
	Allowed    []netip.Prefix
	// KeepClosed leaves the host closed whenever the tunnel goes down: what
	// would have gone through it goes nowhere, until a Sweep.
	KeepClosed bool
	// OperatorAddr is where the operator works from, if that is another host:
	// they are warned when the tunnel would cut them off.
	OperatorAddr netip.Addr

	// DNS are the name servers that the client's host is to ask while the tunnel
	// is up. None leaves those that it has.
	DNS []netip.Addr

	// Port is the TCP port of the server. Only commands may need it.
	Port uint16

	// Servers are the addresses of a client's server, and Gateway is the router
	// on the way there; invalid means that of the default route. Linux, which
	// marks the connection, needs neither.
	Servers []netip.Addr
	Gateway netip.Addr

	// StateDir keeps the former values of sysctls, and where commands set the host
	// up also what they have done, so that a crash does not lose that. Empty
	// means that it lives in memory only.
	StateDir string
}

// Local6 is the IPv6 address of this end.
func (c Config) Local6() netip.Addr { return embed(c.Prefix6, c.Local) }

// Remote6 is the IPv6 address of the other end.
func (c Config) Remote6() netip.Addr { return embed(c.Prefix6, c.Remote) }

// embed puts an IPv4 address behind a /96 prefix (RFC 6052, section 2.2).
func embed(p netip.Prefix, a netip.Addr) netip.Addr {
	b, v4 := p.Masked().Addr().As16(), a.As4()
	copy(b[12:], v4[:])
	return netip.AddrFrom16(b)
}
