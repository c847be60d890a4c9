//go:build linux

package nft

import (
	"errors"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall"
)

// ruleset is what is in nftables: the chains, and the rules of those that
// somebody asks for.
type ruleset struct {
	chains []*nftables.Chain
	conn   *nftables.Conn
	cache  map[place][]*nftables.Rule
}

// place names a chain.
type place struct {
	family      nftables.TableFamily
	table, name string
}

func placeOf(c *nftables.Chain) place { return place{c.Table.Family, c.Table.Name, c.Name} }

// looks is how often a ruleset is read that changes meanwhile.
const looks = 10

// look lets a function read the ruleset. A listing that others interrupt with
// their changes may lack something, so the function is called again if the
// ruleset is another one afterwards: it has to begin anew each time. Where the
// kernel has no nftables it is not called at all.
func look(read func(*ruleset) error) error {
	generations, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { go generations.Close() }() // see commit
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return err
	}
	defer func() { go conn.CloseLasting() }()
	for range looks {
		before, err := generation(generations)
		if missing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rs := &ruleset{conn: conn, cache: map[place][]*nftables.Rule{}}
		if rs.chains, err = conn.ListChains(); err == nil {
			err = read(rs)
		}
		after, errGen := generation(generations)
		if errGen != nil {
			return errGen
		}
		if before == after {
			return err
		}
	}
	return errors.New("the nftables ruleset changes all the time")
}

// missing reports whether an error says that the kernel has no nftables.
func missing(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP)
}

// rules are those of a chain; none, if there is no such chain.
func (rs *ruleset) rules(c *nftables.Chain) ([]*nftables.Rule, error) {
	at := placeOf(c)
	if rules, ok := rs.cache[at]; ok {
		return rules, nil
	}
	rules, err := rs.conn.GetRules(c.Table, c)
	if err == nil {
		rs.cache[at] = rules
	}
	return rules, err
}

// tableIs reports whether a condition holds for all rules in a table.
func (rs *ruleset) tableIs(t *nftables.Table, holds func(*nftables.Rule) bool) (bool, error) {
	for _, c := range rs.chains {
		if c.Table.Name != t.Name || c.Table.Family != t.Family {
			continue
		}
		rules, err := rs.rules(c)
		if err != nil {
			return false, err
		}
		for _, r := range rules {
			if !holds(r) {
				return false, nil
			}
		}
	}
	return true, nil
}

// comment is that of a rule, as nft(8) writes it or as iptables(8) does.
func comment(r *nftables.Rule) string {
	if s, ok := userdata.GetString(r.UserData, userdata.TypeComment); ok {
		return strings.TrimRight(s, "\x00")
	}
	for _, e := range r.Exprs {
		if m, ok := e.(*expr.Match); ok && m.Name == "comment" {
			if c, ok := m.Info.(*xt.Comment); ok {
				return string(*c)
			}
		}
	}
	return ""
}

// mayDrop reports whether packets can end in a chain, as far as one can tell:
// by its policy, or a rule in it or in a chain that a rule leads to. Rules of
// our own do not count.
func (rs *ruleset) mayDrop(c *nftables.Chain, seen map[place]bool) (bool, error) {
	if c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
		return true, nil
	}
	if seen[placeOf(c)] {
		return false, nil
	}
	seen[placeOf(c)] = true
	rules, err := rs.rules(c)
	if err != nil {
		return false, err
	}
	for _, r := range rules {
		if _, ours := firewall.Marked(comment(r)); ours {
			continue
		}
		for _, e := range r.Exprs {
			drops, next := ends(e)
			if next != "" {
				drops, err = rs.mayDrop(&nftables.Chain{Table: c.Table, Name: next}, seen)
			}
			if drops || err != nil {
				return drops, err
			}
		}
	}
	return false, nil
}

// ends reports whether an expression keeps a packet from going on, or which
// chain it goes on in.
func ends(e expr.Any) (drops bool, next string) {
	switch e := e.(type) {
	case *expr.Verdict:
		switch e.Kind {
		case expr.VerdictDrop, expr.VerdictQueue:
			return true, ""
		case expr.VerdictJump, expr.VerdictGoto:
			return false, e.Chain
		}
	case *expr.Reject, *expr.Queue:
		return true, ""
	case *expr.Target: // of iptables
		switch e.Name {
		case "REJECT", "NFQUEUE", "TARPIT":
			return true, ""
		}
	case *expr.Lookup: // a verdict map may have any verdict
		return e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT, ""
	}
	return false, ""
}
