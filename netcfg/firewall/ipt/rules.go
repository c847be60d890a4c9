//go:build linux

package ipt

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"dsvpn/netcfg/firewall"
)

// rule is one of ours, but for its mark.
type rule struct {
	table, chain string
	match        []string
	target       []string
}

// words are the rule as iptables takes it after the chain.
func (r rule) words(mark string) []string {
	words := append([]string{}, r.match...)
	words = append(words, "-m", "comment", "--comment", mark, "-j")
	return append(words, r.target...)
}

// rules are those of a policy for a family, in the order in which they are to
// stand at the top of their chains: ours drop before ours accept.
func rules(p firewall.Policy, f family) []rule {
	all := append(prerouting(p, f), bypass(p.Interface, p.Bypass)...)
	all = append(all, killSwitch(p.Interface, p.KillSwitch, f)...)
	if p.Forward == nil || f == ipv6 && !p.Forward.Source6.IsValid() {
		return all
	}
	if f == ipv4 {
		all = append(all, rule{"nat", "POSTROUTING",
			[]string{"-o", p.Forward.Uplink, "-s", p.Forward.Source.String()}, []string{"MASQUERADE"}})
	}
	return append(all, forward(p.Interface, *p.Forward, f)...)
}

// prerouting comes before connection tracking, so that what it drops costs
// next to nothing.
func prerouting(p firewall.Policy, f family) (all []rule) {
	add := func(target string, match ...string) {
		all = append(all, rule{"raw", "PREROUTING", match, []string{target}})
	}
	for _, a := range p.Protect {
		if familyOf(a) == f {
			add("DROP", "!", "-i", p.Interface, "-d", a.String(), "-m", "addrtype", "!", "--src-type", "LOCAL")
		}
	}
	switch {
	case p.Forward == nil:
	case f == ipv4:
		add("DROP", "-i", p.Interface, "!", "-s", p.Forward.Source.String())
	case p.Forward.Source6.IsValid():
		// The two ends may talk with addresses that the kernel gives an
		// interface by itself. No router forwards those.
		add("ACCEPT", "-i", p.Interface, "-s", "fe80::/10")
		add("DROP", "-i", p.Interface, "!", "-s", p.Forward.Source6.Masked().String())
	}
	return all
}

func forward(iface string, fw firewall.Forward, f family) (all []rule) {
	if f == ipv6 && fw.Block6 {
		return []rule{
			{"filter", "FORWARD", []string{"-i", iface}, []string{"REJECT", "--reject-with", "icmp6-adm-prohibited"}},
			{"filter", "FORWARD", []string{"-o", iface}, []string{"DROP"}},
		}
	}
	drop := func(states, from, to string) rule {
		return rule{"filter", "FORWARD", []string{"-i", from, "-o", to, "-m", "conntrack", "--ctstate", states}, []string{"DROP"}}
	}
	return append([]rule{
		// What is not tracked is not masqueraded, and shows the client's address.
		drop("INVALID", iface, fw.Uplink),
		drop("INVALID,NEW,UNTRACKED", fw.Uplink, iface),
	}, accepts("FORWARD", iface, fw.Uplink)...)
}

// bypass keeps connections outside the tunnel by their mark. On the way out,
// the mangle table looks for the route again when a mark has changed.
func bypass(iface string, b firewall.Bypass) (all []rule) {
	if !b.Answers && len(b.Inbound) == 0 {
		return nil
	}
	mark := fmt.Sprintf("%#x", b.Mark)
	set, restore := []string{"CONNMARK", "--set-mark", mark}, []string{"CONNMARK", "--restore-mark"}
	for _, uplink := range b.Inbound {
		all = append(all, rule{"mangle", "PREROUTING", []string{"-i", uplink, "-m", "conntrack", "--ctstate", "NEW"}, set})
	}
	all = append(all, rule{"mangle", "PREROUTING", []string{"!", "-i", iface, "-m", "connmark", "--mark", mark}, restore})
	if b.Answers {
		all = append(all, rule{"mangle", "OUTPUT", []string{"-m", "mark", "--mark", mark}, set})
	}
	if len(b.Inbound) > 0 {
		all = append(all, rule{"mangle", "OUTPUT", []string{"-m", "connmark", "--mark", mark}, restore})
	}
	return all
}

// accepts let pass what the tunnel forwards.
func accepts(chain, iface, uplink string) []rule {
	return []rule{
		{"filter", chain, []string{"-i", iface, "-o", uplink}, []string{"ACCEPT"}},
		{"filter", chain, []string{"-i", uplink, "-o", iface}, []string{"ACCEPT"}},
	}
}

// neighbourhood is where neighbour discovery (RFC 4861) sends its packets.
var neighbourhood = []string{"fe80::/10", "ff02::/16"}

// killSwitch lets nothing leave the host but through the tunnel. What goes into
// the tunnel, or to the host itself, or is the tunnel's own, passes by the rule
// that refuses, on to those of others.
func killSwitch(iface string, k *firewall.KillSwitch, f family) (all []rule) {
	if k == nil {
		return nil
	}
	reject := []string{"REJECT", "--reject-with", "icmp-admin-prohibited"}
	dhcp := []string{"-p", "udp", "--sport", "68", "--dport", "67"}
	if f == ipv6 {
		reject[2] = "icmp6-adm-prohibited"
		dhcp = []string{"-p", "udp", "--sport", "546", "--dport", "547"}
	}
	for _, chain := range []string{"OUTPUT", "FORWARD"} {
		for _, p := range k.Allowed {
			if familyOf(p.Addr()) == f {
				all = append(all, rule{"filter", chain, []string{"-d", p.String()}, []string{"ACCEPT"}})
			}
		}
	}
	all = append(all, rule{"filter", "OUTPUT", dhcp, []string{"ACCEPT"}})
	if f == ipv6 {
		for _, p := range neighbourhood {
			all = append(all, rule{"filter", "OUTPUT", []string{"-p", "ipv6-icmp", "-d", p}, []string{"ACCEPT"}})
		}
	}
	return append(all,
		rule{"filter", "OUTPUT", []string{"!", "-o", iface, "-m", "mark", "!", "--mark", fmt.Sprintf("%#x", k.Mark),
			"-m", "addrtype", "!", "--dst-type", "LOCAL"}, reject},
		rule{"filter", "FORWARD", []string{"!", "-i", iface, "!", "-o", iface}, reject})
}

// probeRules are of every kind that policies have, and match nothing: there is
// no interface of that name.
func probeRules(iface string, f family) []rule {
	all := []rule{
		{"raw", "PREROUTING", []string{"-i", iface, "-m", "addrtype", "!", "--src-type", "LOCAL"}, []string{"DROP"}},
		{"filter", "FORWARD", []string{"-i", iface, "-o", iface, "-m", "conntrack", "--ctstate", "INVALID,NEW,UNTRACKED"}, []string{"DROP"}},
	}
	if f == ipv6 {
		return append(all, rule{"filter", "FORWARD", []string{"-i", iface}, []string{"REJECT", "--reject-with", "icmp6-adm-prohibited"}})
	}
	return append(all, rule{"nat", "POSTROUTING", []string{"-o", iface}, []string{"MASQUERADE"}})
}

// family is the IP version that a program is for.
type family string

const (
	ipv4 family = "ip"
	ipv6 family = "ip6"
)

func familyOf(a netip.Addr) family {
	if a.Is6() {
		return ipv6
	}
	return ipv4
}

// plain matches what the shell takes as it is.
var plain = regexp.MustCompile(`^([A-Za-z0-9_./:,=@%+-]+|!)$`)

// typed is a command as one types it into a shell.
func typed(words ...string) string {
	for i, w := range words {
		if !plain.MatchString(w) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
