//go:build linux

// Package ipt programs packet filter policies with iptables, for hosts without
// nftables or for operators who want to see all of their rules there.
//
// The rules go into the chains that everybody uses, at the top, each with our
// mark as its comment. The mark is what they are found by again: those that
// iptables has put into nftables over netlink, those of the older packet
// filter by a listing of iptables-legacy.
package ipt

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"

	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/firewall/nft"
)

// Firewall programs policies with the first iptables that works.
type Firewall struct {
	names []string

	mu     sync.Mutex
	chosen *pair
}

var _ firewall.Firewall = &Firewall{}

// New returns a firewall that chooses among programs of these names, in this
// order; each has a twin for IPv6.
func New(names ...string) *Firewall { return &Firewall{names: names} }

// Programs are the names that iptables usually has.
var Programs = []string{"iptables", "iptables-nft", "iptables-legacy"}

// pair is the programs for both families.
type pair struct {
	v4 *program
	v6 *program // nil where IPv6 cannot be filtered
	// no6 says why it cannot.
	no6 error
}

// both are the programs that there are.
func (p pair) both() []*program {
	if p.v6 == nil {
		return []*program{p.v4}
	}
	return []*program{p.v4, p.v6}
}

// Probe writes every kind of rule that policies have, and removes it. There is
// no interface that they would match.
func (fw *Firewall) Probe() (means string, err error) {
	p, err := fw.choose()
	if err != nil {
		return "", err
	}
	set := "nftables"
	if p.v4.legacy {
		set = "legacy"
	}
	if p.v6 == nil {
		return fmt.Sprintf("by %s (%s), without IPv6: %v", p.v4.name, set, p.no6), nil
	}
	return fmt.Sprintf("by %s and %s (%s)", p.v4.name, p.v6.name, set), nil
}

// choose finds the programs, once.
func (fw *Firewall) choose() (pair, error) {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	if fw.chosen != nil {
		return *fw.chosen, nil
	}
	var errs []error
	for _, name := range fw.names {
		v4, err := prove(name, ipv4)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v6, no6 := prove(name, ipv6)
		fw.chosen = &pair{v4, v6, no6}
		return *fw.chosen, nil
	}
	return pair{}, errors.Join(errs...)
}

// prove finds a program and tries it.
func prove(name string, f family) (*program, error) {
	p, err := newProgram(name, f)
	if err != nil {
		return nil, err
	}
	iface := fmt.Sprintf("probe-%d", os.Getpid())
	err = p.insert(probeRules(iface, f), firewall.Mark(iface))
	if err = errors.Join(err, remove(iface)); err != nil {
		return nil, err
	}
	return p, nil
}

// remove takes away what is marked for an interface, wherever it is.
func remove(iface string) error {
	return errors.Join(legacy{}.Remove(iface), nft.Firewall{}.Remove(iface))
}

// neighbours are the rule sets that get guests besides the one that the
// programs write: in that the forward chain has all it needs.
func (p pair) neighbours() (nft.Guests, legacy) {
	own := firewall.Chain{Table: "filter", Name: "FORWARD"}
	return nft.Guests{Except: func(c firewall.Chain) bool {
		return !p.v4.legacy && c.Family != "inet" && c.Table == own.Table && c.Name == own.Name
	}}, legacy{own: p.v4.legacy}
}

// check finds what iptables cannot do for a policy.
func (p pair) check(policy firewall.Policy) error {
	if p.v6 == nil && policy.KillSwitch != nil && kernelHasIPv6() {
		return fmt.Errorf("IPv6 cannot be kept in, as --kill-switch asks: %w", p.no6)
	}
	names := []string{policy.Interface}
	if f := policy.Forward; f != nil {
		names = append(names, f.Uplink)
		if p.v6 == nil && f.Source6.IsValid() {
			return fmt.Errorf("IPv6 cannot be filtered (--ipv6 off leaves it alone): %w", p.no6)
		}
	}
	for _, name := range names {
		if strings.HasSuffix(name, "+") {
			return fmt.Errorf("interface %s: iptables takes the + at the end for any further letters", name)
		}
		if strings.HasPrefix(name, `"`) {
			return fmt.Errorf("interface %s: iptables prints rules with such a name in a way that cannot be read", name)
		}
	}
	return nil
}

func kernelHasIPv6() bool {
	_, err := os.Stat("/proc/sys/net/ipv6")
	return err == nil
}

// Install programs a policy, in place of an older one for its interface. One
// that is there already, from a former life, stays: replacing it would leave a
// moment without any.
func (fw *Firewall) Install(policy firewall.Policy) error {
	p, err := fw.choose()
	if err != nil {
		return err
	}
	if err := p.check(policy); err != nil {
		return err
	}
	if intact, err := fw.Intact(policy); intact && err == nil {
		return nil
	}
	if err := fw.Remove(policy.Interface); err != nil {
		return err
	}
	for _, program := range p.both() {
		err = errors.Join(err, program.insert(rules(policy, program.family), firewall.Mark(policy.Interface)))
	}
	guests, older := p.neighbours()
	if err == nil {
		err = guests.Install(policy)
	}
	if err == nil {
		err = older.Install(policy)
	}
	if err != nil {
		return errors.Join(err, fw.Remove(policy.Interface))
	}
	return nil
}

// Intact looks for as many marked rules as the policy has, chain by chain, and
// for all guests.
func (fw *Firewall) Intact(policy firewall.Policy) (bool, error) {
	p, err := fw.choose()
	if err != nil {
		return false, err
	}
	want := map[firewall.Chain]int{}
	for _, program := range p.both() {
		for _, r := range rules(policy, program.family) {
			want[firewall.Chain{Family: string(program.family), Table: r.table, Name: r.chain, Legacy: program.legacy}]++
		}
	}
	guests, older := p.neighbours()
	count := guests.Count
	if p.v4.legacy {
		count = older.Count
	}
	got, err := count(policy.Interface)
	if err != nil {
		return false, err
	}
	maps.DeleteFunc(got, func(c firewall.Chain, _ int) bool { return want[c] == 0 }) // guests
	if !maps.Equal(got, want) {
		return false, nil
	}
	if intact, err := guests.Intact(policy); !intact || err != nil {
		return false, err
	}
	return older.Intact(policy)
}

// Remove deletes what has the mark of an interface, wherever it is.
func (*Firewall) Remove(iface string) error { return remove(iface) }

// Owned lists the interfaces for which there are rules in the older packet
// filter. What iptables has put into nftables is seen there.
func (*Firewall) Owned() ([]string, error) { return legacy{}.Owned() }

// Neighbours finds the chains that get guests.
func (fw *Firewall) Neighbours() ([]firewall.Chain, error) {
	p, err := fw.choose()
	if err != nil {
		return nil, err
	}
	guests, older := p.neighbours()
	chains, err := guests.Neighbours()
	more, errOlder := older.Neighbours()
	return append(chains, more...), errors.Join(err, errOlder)
}

// Script is the policy as commands, with the program that was chosen or else
// the first.
func (fw *Firewall) Script(policy firewall.Policy, chains []firewall.Chain) string {
	fw.mu.Lock()
	name := fw.names[0]
	if fw.chosen != nil {
		name = fw.chosen.v4.name
	}
	fw.mu.Unlock()
	mark := firewall.Mark(policy.Interface)
	lines := append(script(name, rules(policy, ipv4), mark), script("ip6"+strings.TrimPrefix(name, "ip"), rules(policy, ipv6), mark)...)
	lines = append(lines, strings.Split(strings.TrimSuffix(nft.Guests{}.Script(policy, chains), "\n"), "\n")...)
	return strings.TrimSpace(strings.Join(append(lines, legacy{}.Script(policy, chains)...), "\n"))
}
