package netcfg

import (
	"fmt"
	"net/netip"

	"dsvpn/fallback"
	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/link"
)

// Facts is what a plan depends on, read from the host once.
type Facts struct {
	// System is the operating system, as in runtime.GOOS. Empty is Linux.
	System string
	host   commandHost // what commands run on; nil: the host is set up without

	Interfaces []link.Interface
	Uplinks    []link.Uplink // default routes, the preferred one of each family first
	Tables     []TableInUse

	// Bypasses are the marks of other tunnels' own packets.
	Bypasses []link.Bypass

	// HasIPv6 tells whether the kernel has IPv6 at all. NewIPv6 tells
	// whether a new interface gets it (net.ipv6.conf.default.disable_ipv6).
	HasIPv6, NewIPv6 bool

	// Firewalls has the kinds of firewall that were tried, the preferred one
	// first, up to one that works.
	Firewalls []FirewallFact

	// Sysctls are parameters as they are now. Volatile says why their former
	// values would be lost with a kill; nil: they would not.
	Sysctls  map[string]SysctlFact
	Volatile error

	// DNS is how the host finds name servers, and DNSWays are the ways to set
	// others, the preferred one first, with what is in the way of each.
	DNS     dns.Host
	DNSWays []dns.WayFact

	// HostRoutes are the addresses that an administrator has made routes to, and
	// Unmet is what the host lacks for address translation. Both are for systems
	// other than Linux only.
	HostRoutes []netip.Addr
	Unmet      []string

	// StrictUplinks are the interfaces with an IPv4 default route on which
	// the kernel drops packets that it would answer on another way (rp_filter
	// is 1 there or for all).
	StrictUplinks []string
}

// TableInUse is a routing table that leads into the tunnel of a client of ours
// that is running now.
type TableInUse struct {
	Table     int
	Interface string
}

// FirewallFact tells whether a kind of firewall works on this host.
type FirewallFact struct {
	Kind  FirewallKind
	Means string // by which it works, such as "iptables-nft"
	Err   error  // nil: it works

	// Neighbours are chains of others that may drop what a server forwards.
	// Unreached says which of them cannot be helped.
	Neighbours []firewall.Chain
	Unreached  error
}

// SysctlFact is a kernel parameter as it was found.
type SysctlFact struct {
	Value    string // empty if the kernel does not have it
	Writable bool
}

// The parameters that plans look at or set.
const (
	sysctlDir        = "/proc/sys/net" // where these and all others of ours are
	sysctlForward    = "net.ipv4.ip_forward"
	sysctlCongestion = "net.ipv4.tcp_congestion_control"
	sysctlValidMark  = "net.ipv4.conf.all.src_valid_mark"
)

// uplink is the preferred default route of a family.
func (f Facts) uplink(family link.Family) (link.Uplink, bool) {
	for _, u := range f.Uplinks {
		if u.Family == family {
			return u, true
		}
	}
	return link.Uplink{}, false
}

// interfaceWith finds the interface that has an address, or is connected to a
// network with it.
func (f Facts) interfaceWith(match func(netip.Prefix) bool) (string, netip.Prefix, bool) {
	for _, i := range f.Interfaces {
		for _, p := range i.Addrs {
			if match(p) {
				return i.Name, p, true
			}
		}
	}
	return "", netip.Prefix{}, false
}

// UplinkNamed finds the interface that an operator means with its name, or with
// an address that it has.
func (f Facts) UplinkNamed(s string) (string, bool) {
	if f.hasInterface(s) {
		return s, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return "", false
	}
	name, _, ok := f.interfaceWith(func(p netip.Prefix) bool { return p.Addr() == a })
	return name, ok
}

// FreeInterface is the name that the kernel gives the next tunnel interface.
func (f Facts) FreeInterface() string {
	prefix := "tun"
	if sys, ok := fallback.For(f.System); ok {
		prefix = sys.Tunnel
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", prefix, i); !f.hasInterface(name) {
			return name
		}
	}
}

// awayFrom reports whether an address is that of a host outside the networks
// that this host is connected to, so that packets to it take the tunnel.
func (f Facts) awayFrom(a netip.Addr) bool {
	if !a.IsValid() || a.IsLoopback() {
		return false
	}
	_, _, near := f.interfaceWith(func(p netip.Prefix) bool { return p.Contains(a.WithZone("")) })
	return !near
}

func (f Facts) hasInterface(name string) bool {
	for _, i := range f.Interfaces {
		if i.Name == name {
			return true
		}
	}
	return false
}
