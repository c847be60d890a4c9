//go:build linux

package ipt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"dsvpn/netcfg/firewall"
)

// legacy is the older packet filter. The kernel asks it besides nftables, so a
// drop there is as final as any. Its tables are looked at only where they
// exist: asking iptables-legacy for another one would make it, for good.
type legacy struct {
	// own says that the rules of the policy itself are there, so that its
	// forward chain needs no guests.
	own bool
}

// legacyPrograms are the names that the program may have.
var legacyPrograms = []string{"iptables-legacy", "iptables"}

// dockerUser is the chain of Docker that is there for others.
const dockerUser = "DOCKER-USER"

// places are the chains that rules of ours may be in.
var places = []struct{ table, chain string }{
	{"raw", "PREROUTING"}, {"mangle", "PREROUTING"}, {"mangle", "OUTPUT"}, {"nat", "POSTROUTING"},
	{"filter", "OUTPUT"}, {"filter", "FORWARD"}, {"filter", dockerUser},
}

// tables are those that exist for a family, in the network namespace of the
// thread.
func tables(f family) []string {
	names, err := os.ReadFile("/proc/thread-self/net/" + string(f) + "_tables_names")
	if err != nil {
		return nil // not in this kernel
	}
	return strings.Fields(string(names))
}

var errNoProgram = errors.New("the program that shows them, iptables-legacy, is not installed")

func legacyProgram(f family) (*program, error) {
	for _, name := range legacyPrograms {
		p, err := newProgram(name, f)
		if err == nil && p.legacy {
			return p, nil
		}
		if err != nil && !errors.Is(err, exec.ErrNotFound) {
			return nil, err
		}
	}
	return nil, errNoProgram
}

// chain is one that exists, and what is in it.
type chain struct {
	*program
	table, name string
	lines       []string
}

// known is a chain in the form that others know.
func (c chain) known() firewall.Chain {
	return firewall.Chain{Family: string(c.family), Table: c.table, Name: c.name, Legacy: true}
}

// chains are the places that exist.
func (legacy) chains() (all []chain, err error) {
	for _, f := range []family{ipv4, ipv6} {
		there := tables(f)
		if !slices.ContainsFunc(places, func(p struct{ table, chain string }) bool { return slices.Contains(there, p.table) }) {
			continue
		}
		p, err := legacyProgram(f)
		if err != nil {
			return nil, err
		}
		for _, at := range places {
			if !slices.Contains(there, at.table) {
				continue
			}
			lines, err := p.list(at.table, at.chain)
			if err != nil {
				return nil, err
			}
			if len(lines) > 0 {
				all = append(all, chain{p, at.table, at.chain, lines})
			}
		}
	}
	return all, nil
}

// unreachable reports whether an error says that this process has no way to
// the older packet filter, and so never had: the program is not there, may not
// be executed, lacks a right (its exit status is 3 then), as in a container
// without CAP_NET_RAW, or cannot make its lock file, as in one with a read-only
// /run. (That has the same status as a lock that somebody holds, which is
// another matter.)
func unreachable(err error) bool {
	e, ok := errors.AsType[*iptables.Error](err)
	return errors.Is(err, errNoProgram) || errors.Is(err, fs.ErrPermission) ||
		ok && (e.ExitStatus() == 3 || strings.Contains(e.Error(), "can't open lock file"))
}

// marked are the rules in a chain that are marked for an interface.
func (c chain) marked(iface string) (lines []string) {
	for _, line := range c.lines {
		if name, ok := markOf(line); ok && name == iface {
			lines = append(lines, line)
		}
	}
	return lines
}

// hosts are the chains that get guests: the forward chain, if it may drop
// something, and that which Docker keeps for its users.
func (l legacy) hosts() (hosts []chain, err error) {
	all, err := l.chains()
	for _, c := range all {
		switch c.name {
		case dockerUser:
			hosts = append(hosts, c)
		case "FORWARD":
			foreign := slices.DeleteFunc(slices.Clone(c.lines), func(line string) bool { _, ours := markOf(line); return ours })
			if !l.own && !slices.Equal(foreign, []string{"-P FORWARD ACCEPT"}) {
				hosts = append(hosts, c)
			}
		}
	}
	return hosts, err
}

// guests are the rules of a policy for a chain of somebody else's.
func guests(p firewall.Policy, f family, chain string) []rule {
	if p.Forward == nil || f == ipv6 && !p.Forward.Tunnels6() {
		return nil
	}
	return accepts(chain, p.Interface, p.Forward.Uplink)
}

func (l legacy) Install(p firewall.Policy) error {
	if p.Forward == nil {
		return nil
	}
	hosts, err := l.hosts()
	if unreachable(err) {
		return nil // Neighbours has said so
	}
	for _, c := range hosts {
		for _, line := range c.marked(p.Interface) {
			err = errors.Join(err, c.delete(c.table, line))
		}
		err = errors.Join(err, c.insert(guests(p, c.family, c.name), firewall.Mark(p.Interface)))
	}
	return err
}

func (l legacy) Intact(p firewall.Policy) (bool, error) {
	if p.Forward == nil {
		return true, nil
	}
	hosts, err := l.hosts()
	if unreachable(err) {
		return true, nil
	}
	for _, c := range hosts {
		if len(c.marked(p.Interface)) != len(guests(p, c.family, c.name)) {
			return false, err
		}
	}
	return true, err
}

func (l legacy) Remove(iface string) error {
	all, err := l.chains()
	if unreachable(err) {
		return nil
	}
	for _, c := range all {
		for _, line := range c.marked(iface) {
			err = errors.Join(err, c.delete(c.table, line))
		}
	}
	return err
}

func (l legacy) Owned() (ifaces []string, err error) {
	all, err := l.chains()
	if unreachable(err) {
		return nil, nil
	}
	for _, c := range all {
		for _, line := range c.lines {
			if iface, ok := markOf(line); ok {
				ifaces = append(ifaces, iface)
			}
		}
	}
	slices.Sort(ifaces)
	return slices.Compact(ifaces), err
}

// Count tells how many rules are marked for an interface.
func (l legacy) Count(iface string) (map[firewall.Chain]int, error) {
	all, err := l.chains()
	count := map[firewall.Chain]int{}
	for _, c := range all {
		if n := len(c.marked(iface)); n > 0 {
			count[c.known()] = n
		}
	}
	return count, err
}

func (l legacy) Neighbours() (chains []firewall.Chain, err error) {
	hosts, err := l.hosts()
	for _, c := range hosts {
		chains = append(chains, c.known())
	}
	if err != nil {
		err = fmt.Errorf("there are legacy iptables rules: %w", err)
	}
	return chains, err
}

func (l legacy) Script(p firewall.Policy, chains []firewall.Chain) (lines []string) {
	for _, c := range chains {
		if f := family(c.Family); c.Legacy {
			lines = append(lines, script(string(f)+"tables-legacy", guests(p, f, c.Name), firewall.Mark(p.Interface))...)
		}
	}
	return lines
}
