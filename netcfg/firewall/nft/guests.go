//go:build linux

package nft

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall"
)

// Guests are rules at the top of the chains of others, that accept what the
// tunnel forwards. They go into every filter chain at the forward hook that may
// drop something, and into that which Docker keeps for its users: it is asked
// before all of Docker's own rules, also after Docker has put those above ours.
// Each has our mark as its comment. They are so plain that iptables(8) can read
// them, since it cannot read a table with one that it does not know.
type Guests struct {
	// Except tells which chains get none, because they are visited by other
	// means. Nil means that all are.
	Except func(firewall.Chain) bool
}

// dockerUser is the chain of Docker that is there for others.
const dockerUser = "DOCKER-USER"

var familyNames = map[nftables.TableFamily]string{
	nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
}

func isHook(c *nftables.Chain, hooks ...*nftables.ChainHook) bool {
	return c.Hooknum != nil && slices.ContainsFunc(hooks, func(h *nftables.ChainHook) bool { return *h == *c.Hooknum })
}

// name is a chain in the form that others know; not ok for one of ours, or of
// a family that forwards no IP.
func name(c *nftables.Chain) (firewall.Chain, bool) {
	_, ours := firewall.Marked(c.Table.Name)
	family, ok := familyNames[c.Table.Family]
	return firewall.Chain{Family: family, Table: c.Table.Name, Name: c.Name}, ok && !ours
}

// hosts are the chains that get guests.
func (g Guests) hosts(rs *ruleset) (hosts []*nftables.Chain, err error) {
	for _, c := range rs.chains {
		known, ok := name(c)
		if !ok || g.Except != nil && g.Except(known) {
			continue
		}
		wanted := c.Name == dockerUser && c.Table.Name == "filter"
		if c.Type == nftables.ChainTypeFilter && isHook(c, nftables.ChainHookForward) {
			if wanted, err = rs.mayDrop(c, map[place]bool{}); err != nil {
				return nil, err
			}
		}
		if wanted {
			hosts = append(hosts, c)
		}
	}
	return hosts, nil
}

// guests are the rules of a policy for a chain of a family.
func guests(p firewall.Policy, family string) [][]term {
	f := p.Forward
	if f == nil || family == "ip6" && !f.Tunnels6() {
		return nil
	}
	var only []term
	if family == "inet" && !f.Tunnels6() {
		only = []term{isIPv4()}
	}
	return [][]term{
		slices.Concat(only, []term{iifname(expr.CmpOpEq, p.Interface), oifname(expr.CmpOpEq, f.Uplink), counter(), accept()}),
		slices.Concat(only, []term{iifname(expr.CmpOpEq, f.Uplink), oifname(expr.CmpOpEq, p.Interface), counter(), accept()}),
	}
}

// marked are the rules in a chain that have the mark of an interface.
func (rs *ruleset) marked(c *nftables.Chain, iface string) (ours []*nftables.Rule, err error) {
	rules, err := rs.rules(c)
	for _, r := range rules {
		if comment(r) == firewall.Mark(iface) {
			ours = append(ours, r)
		}
	}
	return ours, err
}

// Install puts guests where they belong, in place of older ones.
func (g Guests) Install(p firewall.Policy) error {
	if p.Forward == nil {
		return nil
	}
	return change(func(rs *ruleset) (edits []edit, err error) {
		hosts, err := g.hosts(rs)
		if err != nil {
			return nil, err
		}
		for _, c := range hosts {
			old, err := rs.marked(c, p.Interface)
			if err != nil {
				return nil, err
			}
			for _, r := range old {
				edits = append(edits, deleteRule(c, r))
			}
			known, _ := name(c)
			for _, rule := range slices.Backward(guests(p, known.Family)) {
				edits = append(edits, insertRule(c, rule, firewall.Mark(p.Interface)))
			}
		}
		return edits, nil
	})
}

// Intact reports whether every chain that should have guests has them.
func (g Guests) Intact(p firewall.Policy) (intact bool, err error) {
	intact = true // where there is no nftables, too
	err = look(func(rs *ruleset) error {
		intact, err = g.intact(rs, p)
		return err
	})
	return intact, err
}

func (g Guests) intact(rs *ruleset, p firewall.Policy) (bool, error) {
	if p.Forward == nil {
		return true, nil
	}
	hosts, err := g.hosts(rs)
	if err != nil {
		return false, err
	}
	for _, c := range hosts {
		known, _ := name(c)
		there, err := rs.marked(c, p.Interface)
		if err != nil || len(there) != len(guests(p, known.Family)) {
			return false, err
		}
	}
	return true, nil
}

// Neighbours are the chains that get guests.
func (g Guests) Neighbours() (all []firewall.Chain, err error) {
	err = look(func(rs *ruleset) error {
		all = nil
		hosts, err := g.hosts(rs)
		for _, c := range hosts {
			known, _ := name(c)
			all = append(all, known)
		}
		return err
	})
	return all, err
}

// Script is what a person would type for a guest.
func (Guests) Script(p firewall.Policy, chains []firewall.Chain) string {
	var b strings.Builder
	for _, c := range chains {
		if c.Legacy {
			continue
		}
		for _, rule := range slices.Backward(guests(p, c.Family)) {
			fmt.Fprintf(&b, "nft 'insert rule %s %s %s %s comment %q'\n", c.Family, c.Table, c.Name, text(rule), firewall.Mark(p.Interface))
		}
	}
	return b.String()
}

// rooms are the chains of others in which rules with our mark may be: those
// that get guests, and those of iptables that its rules for us are in.
func (rs *ruleset) rooms() (rooms []*nftables.Chain) {
	for _, c := range rs.chains {
		_, ok := name(c)
		if ok && (c.Name == dockerUser || isHook(c, nftables.ChainHookPrerouting, nftables.ChainHookForward, nftables.ChainHookOutput, nftables.ChainHookPostrouting)) {
			rooms = append(rooms, c)
		}
	}
	return rooms
}

// Count tells how many rules with the mark of an interface there are in the
// chains of others.
func (Guests) Count(iface string) (count map[firewall.Chain]int, err error) {
	err = look(func(rs *ruleset) error {
		count = map[firewall.Chain]int{}
		for _, c := range rs.rooms() {
			ours, err := rs.marked(c, iface)
			if err != nil {
				return err
			}
			if known, _ := name(c); len(ours) > 0 {
				count[known] = len(ours)
			}
		}
		return nil
	})
	return count, err
}

// owned are the interfaces that rules in the chains of others are marked for.
func (rs *ruleset) owned() (ifaces []string, err error) {
	for _, c := range rs.rooms() {
		rules, err := rs.rules(c)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			if iface, ok := firewall.Marked(comment(r)); ok {
				ifaces = append(ifaces, iface)
			}
		}
	}
	return ifaces, nil
}

// Remove deletes the rules with the mark of an interface from the chains of
// others, whoever put them there, and nothing else in them.
func (Guests) Remove(iface string) error {
	var idle []*nftables.Table
	err := change(func(rs *ruleset) (edits []edit, err error) {
		idle = nil
		for _, c := range rs.rooms() {
			ours, err := rs.marked(c, iface)
			if err != nil {
				return nil, err
			}
			for _, r := range ours {
				edits = append(edits, deleteRule(c, r))
			}
			if len(ours) > 0 && !slices.ContainsFunc(idle, func(t *nftables.Table) bool { return *t == *c.Table }) {
				idle = append(idle, c.Table)
			}
		}
		return edits, nil
	})
	return errors.Join(err, removeIdle(idle))
}

// edit is a message for the kernel.
type edit func(*nftables.Conn)

func deleteRule(c *nftables.Chain, r *nftables.Rule) edit {
	return func(conn *nftables.Conn) {
		conn.DelRule(&nftables.Rule{Table: c.Table, Chain: c, Handle: r.Handle})
	}
}

func insertRule(c *nftables.Chain, terms []term, mark string) edit {
	rule := &nftables.Rule{Table: c.Table, Chain: c, UserData: userdata.AppendString(nil, userdata.TypeComment, mark)}
	for _, t := range terms {
		rule.Exprs = append(rule.Exprs, t.exprs...)
	}
	return func(conn *nftables.Conn) { conn.InsertRule(rule) }
}

// change sends the edits that follow from a look at the ruleset, as one
// transaction. If they do not fit any more, since others were quicker, it
// looks again.
func change(plan func(*ruleset) ([]edit, error)) error {
	var err error
	for range looks {
		var edits []edit
		err := look(func(rs *ruleset) (err error) {
			edits, err = plan(rs)
			return err
		})
		if err != nil || len(edits) == 0 {
			return err
		}
		err = commit(func(conn *nftables.Conn) {
			for _, e := range edits {
				e(conn)
			}
		})
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return err
}
