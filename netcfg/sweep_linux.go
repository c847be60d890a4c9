package netcfg

import (
	"errors"
	"fmt"
	"slices"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/link"
	"dsvpn/netcfg/sysctl"
)

// Sweep removes what processes that were killed have left on the host, and
// says what that was. It is safe while other tunnels of ours are up: what
// belongs to an interface that exists is theirs and stays.
//
// Before a start, owned is the interface that has just been opened, so that
// nothing on the host can belong to it yet, and next is the plan for it: what
// the plan would only make again stays too, so that a host that was closed by
// the crash is not open for a moment. Both are empty for a mere cleanup.
func Sweep(owned string, next Plan, stateDir string) (removed []string, err error) {
	interfaces, err := link.Interfaces()
	if err != nil {
		return nil, err
	}
	lives := func(name string) bool {
		return name != owned && slices.ContainsFunc(interfaces, func(i link.Interface) bool { return i.Name == name })
	}
	var errs []error
	try := func(what string, err error) {
		switch {
		case err == nil:
			removed = append(removed, what)
		case !gone(err):
			errs = append(errs, fmt.Errorf("remove %s: %w", what, err))
		}
	}
	leftovers, err := leftRules(owned)
	errs = append(errs, err)
	for _, l := range leftovers {
		if !next.makes(l.action) {
			try(l.action.Op()[len("add "):]+" "+l.action.Object(), l.remove())
		}
	}
	for kind, fw := range firewalls {
		ifaces, err := fw.Owned()
		if err != nil {
			errs = append(errs, fmt.Errorf("list firewall rules (%s): %w", kind, err))
		}
		for _, name := range ifaces {
			if !lives(name) && !(name == owned && next.installs(kind)) {
				try(fmt.Sprintf("firewall rules for %s (%s)", name, kind), fw.Remove(name))
			}
		}
	}
	restored, err := sysctl.NewStore(stateDir).Sweep(func(name, holder string) bool {
		return !lives(holder) && !(holder == owned && next.sets(name))
	})
	errs = append(errs, err)
	for _, name := range restored {
		removed = append(removed, "sysctl "+name)
	}
	replaced, err := dns.Sweep(next.setsDNS(dns.File))
	errs = append(errs, err)
	return append(removed, replaced...), errors.Join(errs...)
}

// leftover is a rule or route of ours that nobody needs any more.
type leftover struct {
	action Action
	remove func() error
}

// leftRules finds the policy rules and routes that no running client needs.
// The rule that leads to a table tells whose it is; the rules before it, which
// lead to no table of ours, go with it. Rules come first: without its routes, a
// table would let packets pass.
func leftRules(owned string) (left []leftover, err error) {
	used, err := tablesInUse()
	if err != nil {
		return nil, err
	}
	live := func(table int) bool {
		return slices.ContainsFunc(used, func(t TableInUse) bool { return t.Table == table && t.Interface != owned })
	}
	rules, err := link.Rules()
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		alive := live(r.Table)
		if r.Table == link.TableMain {
			alive = slices.ContainsFunc(rules, func(next link.Rule) bool {
				return next.Family == r.Family && next.Priority == r.Priority+1 && live(next.Table)
			})
		}
		if !alive {
			left = append(left, leftover{AddRule{r}, r.Delete})
		}
	}
	// The rule that takes everything goes before the one that spares the local
	// networks, as in Undo.
	slices.SortStableFunc(left, func(a, b leftover) int {
		return b.action.(AddRule).Priority - a.action.(AddRule).Priority
	})
	routes, err := link.Routes()
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		if !live(r.Table) {
			left = append(left, leftover{AddRoute{r}, r.Delete})
		}
	}
	return left, nil
}

// installs reports whether the plan programs a kind of firewall in place of what
// there is, without a moment of nothing: the kernel would lose track of the
// connections that are masqueraded, and a kill switch would be off. Each kind
// does that for what it has made itself; and a policy that is in force already
// is not made again, although another kind may list its rules as well.
func (p Plan) installs(kind FirewallKind) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		i, ok := s.Action.(InstallFirewall)
		if !ok {
			return false
		}
		if i.Kind == kind {
			return true
		}
		intact, err := firewalls[i.Kind].Intact(i.Policy)
		return intact && err == nil
	})
}

// sets reports whether the plan sets a kernel parameter.
func (p Plan) sets(name string) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		i, ok := s.Action.(SetSysctl)
		return ok && i.Name == name
	})
}

// setsDNS reports whether the plan sets name servers in a way.
func (p Plan) setsDNS(way dns.Way) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool {
		d, ok := s.Action.(SetDNS)
		return ok && d.Way == way
	})
}

// makes reports whether the plan has an action.
func (p Plan) makes(a Action) bool {
	return slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Action == a })
}
