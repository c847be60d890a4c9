//go:build linux

// Package nft programs packet filter policies as nftables rules over netlink.
//
// The rules for an interface are one table of family inet. A policy goes to
// the kernel as one batch, which takes effect as a whole or not at all. Drops
// and translation are final there, wherever else a packet has to go. An accept
// is not: so what the tunnel forwards is accepted, besides, by guest rules at
// the top of the chains of others ([Guests]).
package nft

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall"
)

// mark is the comment on each rule in a table of ours. A table counts as ours
// only if all of its rules have it.
const mark = "dsvpn"

// Firewall programs policies with nftables. It opens a netlink socket for each
// call, in the network namespace of the calling thread.
type Firewall struct{}

var _ firewall.Firewall = Firewall{}

func table(iface string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: firewall.Mark(iface)}
}

// commit sends the messages that fill buffers, as one transaction.
//
// The kernel makes whoever closes a netfilter socket wait until rules that
// were deleted are freed, some 10 ms. Nobody needs to wait for that, so the
// socket is closed on the side.
func commit(fill func(*nftables.Conn)) error {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	fill(conn)
	err = conn.Flush()
	go conn.CloseLasting()
	return err
}

// addRules buffers the messages that fill a new table.
func addRules(conn *nftables.Conn, t *nftables.Table, p firewall.Policy) {
	policy := nftables.ChainPolicyAccept
	comment := userdata.AppendString(nil, userdata.TypeComment, mark)
	for _, c := range chains(p) {
		nc := conn.AddChain(&nftables.Chain{Name: c.name, Table: t,
			Type: c.kind, Hooknum: c.hook, Priority: c.priority, Policy: &policy})
		for _, r := range c.rules {
			rule := &nftables.Rule{Table: t, Chain: nc, UserData: comment}
			for _, term := range r {
				rule.Exprs = append(rule.Exprs, term.exprs...)
			}
			conn.AddRule(rule)
		}
	}
}

// Install programs a policy, in place of an older one for its interface. Its
// drops are there before anything is accepted.
func (fw Firewall) Install(p firewall.Policy) error {
	if err := installTable(p); err != nil {
		return err
	}
	if err := (Guests{}).Install(p); err != nil {
		return errors.Join(err, fw.Remove(p.Interface))
	}
	return nil
}

func installTable(p firewall.Policy) error {
	t := table(p.Interface)
	err := commit(func(conn *nftables.Conn) {
		conn.CreateTable(t)
		addRules(conn, t, p)
	})
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	return commit(func(conn *nftables.Conn) {
		conn.DelTable(t)
		conn.AddTable(t)
		addRules(conn, t, p)
	})
}

// Intact looks for as many rules in our table, chain by chain, as the policy
// has, and for all guests.
func (Firewall) Intact(p firewall.Policy) (intact bool, err error) {
	err = look(func(rs *ruleset) error {
		for _, c := range chains(p) {
			rules, err := rs.rules(&nftables.Chain{Table: table(p.Interface), Name: c.name})
			if err != nil || len(rules) != len(c.rules) {
				intact = false
				return err
			}
		}
		intact, err = Guests{}.intact(rs, p)
		return err
	})
	return intact, err
}

// Remove deletes the table of an interface, if there is one, after whatever
// bears its mark in other tables.
func (Firewall) Remove(iface string) error {
	errGuests := Guests{}.Remove(iface)
	err := commit(func(conn *nftables.Conn) { conn.DelTable(table(iface)) })
	if errors.Is(err, unix.ENOENT) || missing(err) {
		err = nil
	}
	return errors.Join(errGuests, err)
}

// Owned lists the interfaces that have a table of ours, or a rule with our
// mark in another table.
func (Firewall) Owned() (ifaces []string, err error) {
	err = look(func(rs *ruleset) error {
		if ifaces, err = rs.owned(); err != nil {
			return err
		}
		for _, c := range rs.chains {
			iface, ok := firewall.Marked(c.Table.Name)
			if !ok || c.Table.Family != nftables.TableFamilyINet {
				continue
			}
			ours, err := rs.tableIs(c.Table, func(r *nftables.Rule) bool { return comment(r) == mark })
			if err != nil {
				return err
			}
			if ours {
				ifaces = append(ifaces, iface)
			}
		}
		return nil
	})
	slices.Sort(ifaces)
	return slices.Compact(ifaces), err
}

// Neighbours finds the chains that get guests.
func (Firewall) Neighbours() ([]firewall.Chain, error) { return Guests{}.Neighbours() }

// Script is the policy as commands with nft(8).
func (Firewall) Script(p firewall.Policy, chains []firewall.Chain) string {
	return strings.TrimSuffix(script(p)+"\n"+Guests{}.Script(p, chains), "\n")
}

// Probe programs a table with every kind of rule that policies have, and
// deletes it in the same batch: the kernel checks it all, and at no moment is
// any of it in force.
func (Firewall) Probe() (means string, err error) {
	t := table(fmt.Sprintf("probe-%d", os.Getpid()))
	return "over netlink", commit(func(conn *nftables.Conn) {
		conn.AddTable(t)
		addRules(conn, t, probePolicy)
		conn.DelTable(t)
	})
}
