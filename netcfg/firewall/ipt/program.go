//go:build linux

package ipt

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/coreos/go-iptables/iptables"

	"dsvpn/netcfg/firewall"
)

// lockTimeout is how long iptables waits for others that use it, in seconds.
// Without one the library lets it wait for ever.
const lockTimeout = 5

// program is iptables for one family.
type program struct {
	*iptables.IPTables
	family family
	name   string
	legacy bool // it programs the older packet filter, not nftables
}

// newProgram finds the program of a family whose name for IPv4 is given.
func newProgram(name string, f family) (*program, error) {
	p := &program{family: f, name: name}
	proto := iptables.ProtocolIPv4
	if f == ipv6 {
		p.name = "ip6" + strings.TrimPrefix(name, "ip")
		proto = iptables.ProtocolIPv6
	}
	version, err := exec.Command(p.name, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	p.legacy = !strings.Contains(string(version), "nf_tables")
	p.IPTables, err = iptables.New(iptables.Path(p.name), iptables.IPFamily(proto), iptables.Timeout(lockTimeout))
	return p, err
}

// insert puts rules at the top of their chains, in this order.
func (p *program) insert(rules []rule, mark string) error {
	for _, r := range slices.Backward(rules) {
		if err := p.Insert(r.table, r.chain, 1, r.words(mark)...); err != nil {
			return oneLine{err}
		}
	}
	return nil
}

// script is what one types for insert.
func script(program string, rules []rule, mark string) (lines []string) {
	for _, r := range slices.Backward(rules) {
		lines = append(lines, typed(append([]string{program, "-t", r.table, "-I", r.chain}, r.words(mark)...)...))
	}
	return lines
}

// list returns the rules of a chain as iptables prints them, after its policy.
// There are none if there is no such chain.
func (p *program) list(table, chain string) ([]string, error) {
	lines, err := p.List(table, chain)
	if e, ok := errors.AsType[*iptables.Error](err); ok && e.IsNotExist() {
		return nil, nil
	}
	if err != nil {
		return nil, oneLine{err}
	}
	return lines, nil
}

// delete removes a rule that list has returned. One that is gone already is no
// error.
func (p *program) delete(table, line string) error {
	words := split(line)
	err := p.Delete(table, words[1], words[2:]...)
	if e, ok := errors.AsType[*iptables.Error](err); err == nil || ok && e.IsNotExist() {
		return nil
	}
	return oneLine{err}
}

// oneLine is an error of iptables, which prints several lines, on one.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e oneLine) Unwrap() error { return e.error }

// word is one of a printed rule: a quoted string, or anything without spaces,
// such as the name of an interface.
var word = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"|\S+`)

// split takes apart a rule as iptables prints it.
func split(line string) (words []string) {
	for _, m := range word.FindAllStringSubmatch(line, -1) {
		if strings.HasPrefix(m[0], `"`) {
			m[0] = escape.ReplaceAllString(m[1], "$1")
		}
		words = append(words, m[0])
	}
	return words
}

// escape is how iptables prints quotes and backslashes in a quoted string.
var escape = regexp.MustCompile(`\\(.)`)

// markOf is the interface that a printed rule is marked for.
func markOf(line string) (iface string, ok bool) {
	words := split(line)
	if i := slices.Index(words, "--comment"); i >= 0 && i+1 < len(words) {
		return firewall.Marked(words[i+1])
	}
	return "", false
}
