//go:build linux

// Package nft programs packet filter policies as nftables rules over netlink.
//
// The rules for an interface are one table of family inet. A policy goes to
// the kernel as one batch, which takes effect as a whole or not at all.
package nft

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall"
)

const (
	// tablePrefix is what names of our tables begin with; the interface follows.
	tablePrefix = "dsvpn-"
	// mark is the comment on each rule of ours. A table counts as ours only if
	// all of its rules have it.
	mark = "dsvpn"
)

// tableName is the name of the table for an interface. An interface may have
// a name that nft(8) cannot read as that of a table; other bytes than letters,
// digits and a few more are then written as "/" and two hexadecimal digits,
// which is unique since no interface has a "/" in its name.
func tableName(iface string) string {
	var b strings.Builder
	b.WriteString(tablePrefix)
	for _, c := range []byte(iface) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "/%02x", c)
		}
	}
	return b.String()
}

// interfaceOf is the interface that a table belongs to, if it is one of ours.
func interfaceOf(table string) (string, bool) {
	rest, ok := strings.CutPrefix(table, tablePrefix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for len(rest) > 0 {
		var c byte
		if n, _ := fmt.Sscanf(rest, "/%02x", &c); n == 1 && len(rest) >= 3 {
			b.WriteByte(c)
			rest = rest[3:]
			continue
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return b.String(), b.Len() > 0
}

// Firewall programs policies with nftables. It opens a netlink socket for each
// call, in the network namespace of the calling thread.
type Firewall struct{}

var _ firewall.Firewall = Firewall{}

func table(iface string) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: tableName(iface)}
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

// Install programs a policy, in place of an older one for its interface.
func (Firewall) Install(p firewall.Policy) error {
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

// Remove deletes the table of an interface, if there is one.
func (Firewall) Remove(iface string) error {
	err := commit(func(conn *nftables.Conn) { conn.DelTable(table(iface)) })
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Owned lists the interfaces that have a table of ours.
func (Firewall) Owned() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	var ifaces []string
	for _, t := range tables {
		iface, ok := interfaceOf(t.Name)
		if !ok {
			continue
		}
		switch ours, err := marked(conn, t); {
		case errors.Is(err, unix.ENOENT): // deleted since the listing
		case err != nil:
			return nil, err
		case ours:
			ifaces = append(ifaces, iface)
		}
	}
	return ifaces, nil
}

// marked reports whether every rule of a table bears our mark.
func marked(conn *nftables.Conn, t *nftables.Table) (bool, error) {
	all, err := conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return false, err
	}
	for _, c := range all {
		if c.Table.Name != t.Name {
			continue
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return false, err
		}
		for _, r := range rules {
			if s, _ := userdata.GetString(r.UserData, userdata.TypeComment); s != mark {
				return false, nil
			}
		}
	}
	return true, nil
}

// Script is the policy as a command with nft(8).
func (Firewall) Script(p firewall.Policy) string { return script(p) }

// Probe programs a table with every kind of rule that policies have, and
// deletes it in the same batch: the kernel checks it all, and at no moment is
// any of it in force.
func (Firewall) Probe() error {
	t := table(fmt.Sprintf("probe-%d", os.Getpid()))
	return commit(func(conn *nftables.Conn) {
		conn.AddTable(t)
		addRules(conn, t, probePolicy)
		conn.DelTable(t)
	})
}
