package netlab

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Snapshot renders everything on the host that a VPN could change: links,
// addresses, routes of all tables, policy rules, both packet filters and the
// kernel parameters that matter. One line is one thing, in a stable order.
// Two snapshots of an unchanged host are equal: whatever changes by itself
// (indexes, counters, hardware addresses, carrier, ages) is left out. It runs
// no program, but iptables-legacy-save where legacy tables exist.
func (h *Host) Snapshot() (string, error) {
	var text string
	err := h.Do(func() (err error) {
		text, err = Snapshot()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("host %s: %w", h.name, err)
	}
	return text, nil
}

// Snapshot is [Host.Snapshot] of the network namespace of the current thread.
func Snapshot() (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	links, err := dump(netlink.LinkList)
	if err != nil {
		return "", fmt.Errorf("snapshot: list links: %w", err)
	}
	names := interfaces{0: "none"}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var text strings.Builder
	for _, section := range []func() ([]string, error){
		func() ([]string, error) { return names.links(links), nil },
		names.addresses, names.routes, policyRules, nftRuleset, legacyTables, sysctls,
	} {
		lines, err := section()
		if err != nil {
			return "", fmt.Errorf("snapshot: %w", err)
		}
		for _, line := range lines {
			text.WriteString(line)
			text.WriteByte('\n')
		}
	}
	return text.String(), nil
}

// dump repeats a listing that a change has interrupted.
func dump[T any](list func() ([]T, error)) (all []T, err error) {
	for range 10 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}

// interfaces maps an index, which differs from run to run, to a name.
type interfaces map[int]string

func (n interfaces) links(links []netlink.Link) []string {
	var lines []string
	for _, l := range links {
		a := l.Attrs()
		state := "down"
		if a.Flags&net.FlagUp != 0 {
			state = "up"
		}
		line := fmt.Sprintf("link %s type %s mtu %d %s queue %d", a.Name, l.Type(), a.MTU, state, a.TxQLen)
		if a.MasterIndex != 0 {
			line += " master " + n[a.MasterIndex]
		}
		if a.Promisc != 0 {
			line += " promiscuous"
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func (n interfaces) addresses() ([]string, error) {
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var lines []string
	for _, a := range addrs {
		line := fmt.Sprintf("address %s dev %s scope %s", a.IPNet, n[a.LinkIndex], netlink.Scope(a.Scope))
		if a.Peer != nil {
			line += " peer " + a.Peer.String()
		}
		if a.Broadcast != nil {
			line += " broadcast " + a.Broadcast.String()
		}
		if a.Label != "" && a.Label != n[a.LinkIndex] {
			line += " label " + a.Label
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines, nil
}

func (n interfaces) routes() ([]string, error) {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		routes, err := dump(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("list routes: %w", err)
		}
		for _, r := range routes {
			lines = append(lines, n.route(r))
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// route renders one route: what everybody looks for in words, the rest by
// the names of the fields.
func (n interfaces) route(r netlink.Route) string {
	var hops strings.Builder
	for _, h := range r.MultiPath {
		fmt.Fprintf(&hops, " hop %s dev %s weight %d", h.Gw, n[h.LinkIndex], h.Hops+1)
	}
	kind := strconv.Itoa(r.Type)
	if r.Type < len(routeTypes) {
		kind = routeTypes[r.Type]
	}
	head := fmt.Sprintf("route %s table %d %s %s dev %s", family(r.Family), r.Table, kind, r.Dst, n[r.LinkIndex])
	r.Family, r.Table, r.Type, r.Dst, r.LinkIndex, r.ILinkIndex, r.MultiPath = 0, 0, 0, nil, 0, 0, nil
	r.Flags &= unix.RTNH_F_ONLINK // others tell the state of the link
	return head + hops.String() + fields(r, netlink.Route{})
}

// routeTypes names the values of RTN_*.
var routeTypes = []string{
	"unspec", "unicast", "local", "broadcast", "anycast", "multicast",
	"blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve",
}

// policyRules lists the rules in the order in which the kernel consults them.
func policyRules() ([]string, error) {
	var lines []string
	for _, f := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := dump(func() ([]netlink.Rule, error) { return netlink.RuleList(f) })
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return nil, fmt.Errorf("list rules: %w", err)
		}
		for _, r := range rules {
			blank := *netlink.NewRule()
			head := fmt.Sprintf("rule %s %d", family(f), max(r.Priority, 0))
			r.Family, r.Priority = 0, blank.Priority
			lines = append(lines, head+fields(r, blank))
		}
	}
	return lines, nil
}

func family(f int) string {
	if f == netlink.FAMILY_V6 {
		return "ip6"
	}
	return "ip"
}

// sysctls reads the kernel parameters that a VPN, a firewall or a router is
// likely to touch.
func sysctls() ([]string, error) {
	var lines []string
	for _, pattern := range []string{
		"net/core/default_qdisc",
		"net/core/[rw]mem_max",
		"net/ipv4/ip_forward",
		"net/ipv4/ip_nonlocal_bind",
		"net/ipv4/fwmark_reflect",
		"net/ipv4/tcp_congestion_control",
		"net/ipv4/tcp_fwmark_accept",
		"net/ipv4/tcp_mtu_probing",
		"net/ipv4/conf/*/accept_*",
		"net/ipv4/conf/*/arp_[afi]*",
		"net/ipv4/conf/*/forwarding",
		"net/ipv4/conf/*/proxy_arp",
		"net/ipv4/conf/*/route_localnet",
		"net/ipv4/conf/*/rp_filter",
		"net/ipv4/conf/*/send_redirects",
		"net/ipv4/conf/*/src_valid_mark",
		"net/ipv6/conf/*/accept_ra",
		"net/ipv6/conf/*/accept_redirects",
		"net/ipv6/conf/*/addr_gen_mode",
		"net/ipv6/conf/*/disable_ipv6",
		"net/ipv6/conf/*/forwarding",
		"net/ipv6/conf/*/proxy_ndp",
		"net/ipv6/conf/*/use_tempaddr",
	} {
		paths, err := filepath.Glob(sysctlPath(pattern))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			name := strings.TrimPrefix(path, sysctlDir)
			value, err := readSysctl(name)
			if err != nil {
				return nil, err
			}
			lines = append(lines, "sysctl "+name+" = "+value)
		}
	}
	return lines, nil
}
