//go:build linux

package nft

import (
	"errors"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// removeIdle deletes those of some tables that do nothing. iptables-nft makes
// a table for the first rule in it and never removes that; so what its rules
// for us have left is taken away here.
func removeIdle(tables []*nftables.Table) error {
	var errs []error
	for _, t := range tables {
		var chains []*nftables.Chain
		idle := false
		err := look(func(rs *ruleset) (err error) {
			chains, idle, err = rs.idle(t)
			return err
		})
		if err == nil && idle {
			err = deleteEmpty(t, chains)
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// idle reports whether a table has no rules and its chains let everything
// pass, as iptables makes them.
func (rs *ruleset) idle(t *nftables.Table) (chains []*nftables.Chain, idle bool, err error) {
	if t.Family == nftables.TableFamilyINet || !slices.Contains([]string{"raw", "mangle", "filter", "nat"}, t.Name) {
		return nil, false, nil // not of iptables
	}
	for _, c := range rs.chains {
		if *c.Table != *t {
			continue
		}
		if c.Policy == nil || *c.Policy != nftables.ChainPolicyAccept {
			return nil, false, nil
		}
		chains = append(chains, c)
	}
	idle, err = rs.tableIs(t, func(*nftables.Rule) bool { return false })
	return chains, idle, err
}

// deleteEmpty deletes a table and its chains, if nothing has come into them
// since. The library asks the kernel to delete with all that is inside; this
// does not (NLM_F_NONREC), and is EBUSY then.
func deleteEmpty(t *nftables.Table, chains []*nftables.Chain) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { go conn.Close() }() // see commit
	batch := []netlink.Message{boundary(unix.NFNL_MSG_BATCH_BEGIN)}
	for _, c := range chains {
		batch = append(batch, deletion(t, unix.NFT_MSG_DELCHAIN,
			netlink.Attribute{Type: unix.NFTA_CHAIN_TABLE, Data: []byte(t.Name + "\x00")},
			netlink.Attribute{Type: unix.NFTA_CHAIN_NAME, Data: []byte(c.Name + "\x00")}))
	}
	batch = append(batch, deletion(t, unix.NFT_MSG_DELTABLE,
		netlink.Attribute{Type: unix.NFTA_TABLE_NAME, Data: []byte(t.Name + "\x00")}))
	sent, err := conn.SendMessages(append(batch, boundary(unix.NFNL_MSG_BATCH_END)))
	if err != nil {
		return err
	}
	for range len(sent) - 2 { // the boundaries are not answered
		if _, err := conn.Receive(); err != nil {
			return err
		}
	}
	return nil
}
