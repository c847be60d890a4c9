package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// mapped turns the kernel's answer into ErrExists or ErrGone where it is one
// of those. What is gone has an errno of its own for each kind of thing: a
// rule ENOENT, a route ESRCH, an address EADDRNOTAVAIL, an interface ENODEV.
func mapped(err error) error {
	var notFound netlink.LinkNotFoundError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EEXIST):
		return ErrExists
	case errors.As(err, &notFound), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT),
		errors.Is(err, unix.ESRCH), errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("%w (%w)", ErrGone, err)
	}
	return err
}

func (f Family) af() int {
	if f == IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// ipNet is the prefix in the form that the library takes. It keeps the address
// as it is: the host bits of a peer's address are not masked.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func (a Address) netlink() *netlink.Addr {
	local := netip.PrefixFrom(a.Local, a.Local.BitLen())
	na := &netlink.Addr{IPNet: ipNet(local), Peer: ipNet(a.Peer), Broadcast: net.IPv4zero}
	if a.Local.Is6() {
		// There is nobody to detect a duplicate at; and until the kernel has
		// done with it, connections would be made from another address.
		na.Flags = unix.IFA_F_NODAD
	}
	return na
}

// Add gives the address to its interface.
func (a Address) Add() error {
	l, err := netlink.LinkByName(a.Interface)
	if err != nil {
		return mapped(err)
	}
	return mapped(netlink.AddrAdd(l, a.netlink()))
}

// Delete takes the address from its interface.
func (a Address) Delete() error {
	l, err := netlink.LinkByName(a.Interface)
	if err != nil {
		return mapped(err)
	}
	return mapped(netlink.AddrDel(l, a.netlink()))
}

// SetUp sets an interface up, and says whether it was up before.
func SetUp(name string) (was bool, err error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return false, mapped(err)
	}
	if l.Attrs().Flags&net.FlagUp != 0 {
		return true, nil
	}
	return false, mapped(netlink.LinkSetUp(l))
}

// SetDown sets an interface down.
func SetDown(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return mapped(err)
	}
	return mapped(netlink.LinkSetDown(l))
}

func (r Route) netlink() (*netlink.Route, error) {
	nr := &netlink.Route{
		Family:   r.Family.af(),
		Table:    r.Table,
		Priority: int(r.Metric),
		Protocol: Protocol,
		Type:     unix.RTN_UNREACHABLE,
		Dst:      ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)),
	}
	if r.Family == IPv6 {
		nr.Dst = ipNet(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	if r.Interface == "" {
		return nr, nil
	}
	l, err := netlink.LinkByName(r.Interface)
	if err != nil {
		return nil, err
	}
	nr.LinkIndex, nr.Type = l.Attrs().Index, unix.RTN_UNICAST
	if r.Family == IPv4 {
		nr.Scope = netlink.SCOPE_LINK // as ip(8) does for a route without a gateway
	}
	return nr, nil
}

// Add puts the route into its table.
func (r Route) Add() error {
	nr, err := r.netlink()
	if err != nil {
		return mapped(err)
	}
	return mapped(netlink.RouteAdd(nr))
}

// Delete takes the route out of its table.
func (r Route) Delete() error {
	nr, err := r.netlink()
	if err != nil {
		return mapped(err)
	}
	return mapped(netlink.RouteDel(nr))
}

func (r Rule) netlink() *netlink.Rule {
	nr := netlink.NewRule() // a zero Rule is EINVAL: -1 is "not given"
	nr.Family = r.Family.af()
	nr.Priority = r.Priority
	nr.Table = r.Table
	nr.Protocol = Protocol
	nr.Mark = r.Mark
	if r.NotMark != 0 {
		nr.Mark, nr.Invert = r.NotMark, true
	}
	if r.SuppressDefault {
		nr.SuppressPrefixlen = 0
	}
	return nr
}

// Add puts the rule into the policy database.
func (r Rule) Add() error { return mapped(netlink.RuleAdd(r.netlink())) }

// Delete takes the rule out of the policy database: this very one, with our
// protocol number, and none that only looks like it.
func (r Rule) Delete() error { return mapped(netlink.RuleDel(r.netlink())) }

// families lists the families that the kernel has. An absent IPv6 has no
// routes and no rules, which is no error.
func families() []Family {
	if !HasIPv6() {
		return []Family{IPv4}
	}
	return []Family{IPv4, IPv6}
}

// HasIPv6 reports whether the kernel has IPv6 at all.
func HasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// Rules lists the policy rules that bear our protocol number.
func Rules() (ours []Rule, err error) {
	err = eachRule(func(f Family, r netlink.Rule) {
		if r.Protocol != Protocol {
			return
		}
		rule := Rule{Family: f, Priority: r.Priority, Table: r.Table, SuppressDefault: r.SuppressPrefixlen == 0}
		if r.Invert {
			rule.NotMark = r.Mark
		} else {
			rule.Mark = r.Mark
		}
		ours = append(ours, rule)
	})
	return ours, err
}

// Bypasses lists the marks that keep packets out of other tunnels: those of
// the rules that send everything else to a table, but for the table given.
// Tunnels such as wg-quick makes have rules of that form, and so have ours.
func Bypasses(table int) (marks []Bypass, err error) {
	err = eachRule(func(f Family, r netlink.Rule) {
		b := Bypass{f, r.Mark}
		if r.Invert && r.Mark != 0 && r.Table != table && r.Table != TableMain && !slices.Contains(marks, b) {
			marks = append(marks, b)
		}
	})
	return marks, err
}

func eachRule(f func(Family, netlink.Rule)) error {
	for _, family := range families() {
		rules, err := netlink.RuleList(family.af())
		if err != nil {
			return fmt.Errorf("list %s rules: %w", family, err)
		}
		for _, r := range rules {
			f(family, r)
		}
	}
	return nil
}

// Routes lists the default routes that bear our protocol number, of all tables.
func Routes() ([]Route, error) {
	var ours []Route
	names, err := indexes()
	if err != nil {
		return nil, err
	}
	filter := &netlink.Route{Protocol: Protocol, Table: unix.RT_TABLE_UNSPEC}
	for _, f := range families() {
		routes, err := netlink.RouteListFiltered(f.af(), filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list %s routes: %w", f, err)
		}
		for _, r := range routes {
			route := Route{Family: f, Table: r.Table, Metric: uint32(r.Priority)}
			if r.Type == unix.RTN_UNICAST {
				route.Interface = names[r.LinkIndex]
			}
			ours = append(ours, route)
		}
	}
	return ours, nil
}

// Uplinks lists the default routes of the main table, the preferred one of
// each family first.
func Uplinks() ([]Uplink, error) {
	var uplinks []Uplink
	names, err := indexes()
	if err != nil {
		return nil, err
	}
	for _, f := range families() {
		routes, err := netlink.RouteListFiltered(f.af(), &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
		if err != nil {
			return nil, fmt.Errorf("list %s routes: %w", f, err)
		}
		for _, r := range routes {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 || r.Type != unix.RTN_UNICAST {
				continue
			}
			index, gw := r.LinkIndex, r.Gw
			if len(r.MultiPath) > 0 { // several ways at once: the first names the uplink
				index, gw = r.MultiPath[0].LinkIndex, r.MultiPath[0].Gw
			}
			gateway, _ := netip.AddrFromSlice(gw)
			uplinks = append(uplinks, Uplink{Family: f, Interface: names[index], Gateway: gateway.Unmap(), Metric: uint32(r.Priority)})
		}
	}
	slices.SortStableFunc(uplinks, func(a, b Uplink) int {
		if a.Family != b.Family {
			return int(a.Family) - int(b.Family)
		}
		return int(int64(a.Metric) - int64(b.Metric))
	})
	return uplinks, nil
}

// PathTo describes how packets with a mark get to an address: the gateway, the
// interface and the source address. It is for comparison.
func PathTo(addr netip.Addr, mark uint32) (string, error) {
	routes, err := netlink.RouteGetWithOptions(addr.AsSlice(), &netlink.RouteGetOptions{Mark: mark})
	if err != nil {
		return "", fmt.Errorf("look up the route to %s: %w", addr, mapped(err))
	}
	var path strings.Builder
	for _, r := range routes {
		fmt.Fprintf(&path, "via %v dev %d src %v ", r.Gw, r.LinkIndex, r.Src)
	}
	return path.String(), nil
}

// indexes maps interface indexes to names.
func indexes() (map[int]string, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	return names, nil
}

// Interfaces lists the interfaces of the host with their addresses.
func Interfaces() ([]Interface, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	list := make([]Interface, 0, len(links))
	for _, l := range links {
		i := Interface{Name: l.Attrs().Name}
		for _, a := range addrs {
			if a.LinkIndex != l.Attrs().Index {
				continue
			}
			ip, _ := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			i.Addrs = append(i.Addrs, netip.PrefixFrom(ip.Unmap(), bits))
		}
		list = append(list, i)
	}
	return list, nil
}
