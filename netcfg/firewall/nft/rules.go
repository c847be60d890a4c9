//go:build linux

package nft

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"dsvpn/netcfg/firewall"
)

// chain is one base chain of a table of ours. Its policy is always accept: it
// is there to drop, reject or translate; what it lets pass is still up to
// everybody else's chains.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority *nftables.ChainPriority
	rules    [][]term
}

// names of hooks and priorities as nft(8) writes them.
var (
	hookNames = map[*nftables.ChainHook]string{
		nftables.ChainHookPrerouting:  "prerouting",
		nftables.ChainHookForward:     "forward",
		nftables.ChainHookOutput:      "output",
		nftables.ChainHookPostrouting: "postrouting",
	}
	priorityNames = map[*nftables.ChainPriority]string{
		nftables.ChainPriorityRaw:       "raw",
		nftables.ChainPriorityMangle:    "mangle",
		nftables.ChainPriorityFilter:    "filter",
		nftables.ChainPriorityNATSource: "srcnat",
	}
)

// linkLocal is where the two ends may talk IPv6 with addresses that the kernel
// gives an interface by itself.
var linkLocal = netip.MustParsePrefix("fe80::/10")

// chains are the rules for a policy. Chains without a rule are left out.
func chains(p firewall.Policy) []chain {
	all := []chain{{
		name: "prerouting", kind: nftables.ChainTypeFilter,
		hook: nftables.ChainHookPrerouting, priority: nftables.ChainPriorityRaw,
		rules: prerouting(p),
	}}
	if p.Forward != nil {
		all = append(all, chain{
			name: "forward", kind: nftables.ChainTypeFilter,
			hook: nftables.ChainHookForward, priority: nftables.ChainPriorityFilter,
			rules: forward(p.Interface, *p.Forward),
		}, chain{
			name: "postrouting", kind: nftables.ChainTypeNAT,
			hook: nftables.ChainHookPostrouting, priority: nftables.ChainPriorityNATSource,
			rules: [][]term{{oifname(expr.CmpOpEq, p.Forward.Uplink),
				saddr(expr.CmpOpEq, host(p.Forward.Source)), counter(), masquerade()}},
		})
	}
	all = append(all, bypass(p.Interface, p.Bypass)...)
	return append(all, killSwitch(p.Interface, p.KillSwitch)...)
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// prerouting comes before connection tracking, so that what it drops costs
// next to nothing. A drop here is final, whatever other chains say.
func prerouting(p firewall.Policy) (rules [][]term) {
	for _, a := range p.Protect {
		rules = append(rules, []term{iifname(expr.CmpOpNeq, p.Interface), daddr(expr.CmpOpEq, host(a)),
			notFromThisHost(), counter(), drop()})
	}
	if f := p.Forward; f != nil {
		in := iifname(expr.CmpOpEq, p.Interface)
		rules = append(rules, []term{in, saddr(expr.CmpOpNeq, host(f.Source)), counter(), drop()})
		if f.Source6.IsValid() {
			rules = append(rules,
				[]term{in, saddr(expr.CmpOpEq, linkLocal), accept()},
				[]term{in, saddr(expr.CmpOpNeq, f.Source6), counter(), drop()})
		}
		if f.Block6 {
			// Here and not only where packets are forwarded: a host that does
			// not route IPv6 would drop them there without a word, and the
			// client's applications would wait. (In this hook since Linux 5.9.)
			rules = append(rules, []term{in, daddr(expr.CmpOpNeq, f.Source6), counter(), reject()})
		}
	}
	return rules
}

func forward(iface string, f firewall.Forward) (rules [][]term) {
	in, out := iifname(expr.CmpOpEq, iface), oifname(expr.CmpOpEq, iface)
	if f.Block6 {
		rules = append(rules,
			[]term{in, isIPv6(), counter(), reject()},
			[]term{out, isIPv6(), counter(), drop()})
	}
	uplink := func(match func(expr.CmpOp, string) term) term { return match(expr.CmpOpEq, f.Uplink) }
	return append(rules,
		// A packet that connection tracking makes nothing of is not
		// masqueraded either, and would show the world the client's address.
		[]term{in, uplink(oifname), isInvalid(), counter(), drop()},
		[]term{uplink(iifname), out, unsolicited(), counter(), drop()})
}

// script is the policy in the language of nft(8): deleting first makes it the
// same whether the table is there or not.
func script(p firewall.Policy) string {
	var b strings.Builder
	table := firewall.Mark(p.Interface)
	fmt.Fprintf(&b, "nft -f - <<'END'\ntable inet %[1]s\ndelete table inet %[1]s\ntable inet %[1]s {\n", table)
	for i, c := range chains(p) {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %s; policy accept;\n",
			c.name, c.kind, hookNames[c.hook], priorityNames[c.priority])
		for _, r := range c.rules {
			fmt.Fprintf(&b, "\t\t%s comment %q\n", text(r), mark)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\nEND")
	return b.String()
}
