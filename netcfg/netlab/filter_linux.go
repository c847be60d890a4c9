package netlab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// nftRuleset renders the tables of nftables and what is in them. Tables and
// chains are sorted by name, rules stand in their order.
func nftRuleset() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // not in this kernel
	}
	if err != nil {
		return nil, fmt.Errorf("nftables: list tables: %w", err)
	}
	var lines []string
	for _, t := range tables {
		inner, err := nftTable(conn, t)
		if err != nil {
			return nil, fmt.Errorf("nftables: table %s: %w", t.Name, err)
		}
		head := fmt.Sprintf("nft table %s %s", nftFamily(t), t.Name)
		if t.Flags != 0 {
			head += fmt.Sprintf(" flags %#x", t.Flags)
		}
		// As one string, so that a table stays in one piece when sorted.
		lines = append(lines, strings.Join(append([]string{head}, inner...), "\n"))
	}
	slices.Sort(lines)
	return lines, nil
}

func nftFamily(t *nftables.Table) string {
	names := map[nftables.TableFamily]string{
		nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
		nftables.TableFamilyARP: "arp", nftables.TableFamilyNetdev: "netdev", nftables.TableFamilyBridge: "bridge",
	}
	if name, ok := names[t.Family]; ok {
		return name
	}
	return fmt.Sprintf("family %d", t.Family)
}

// nftTable renders what is in a table: objects, flow tables, sets, chains.
func nftTable(conn *nftables.Conn, t *nftables.Table) ([]string, error) {
	var lines []string
	objects, err := conn.GetNamedObjects(t)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	for _, o := range objects {
		lines = append(lines, "  object"+fields(o, nftables.NamedObj{Table: t}))
	}
	flows, err := conn.ListFlowtables(t)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("list flow tables: %w", err)
	}
	for _, f := range flows {
		f.Use, f.Handle = 0, 0
		lines = append(lines, "  flowtable"+fields(f, nftables.Flowtable{}))
	}
	sets, err := nftSets(conn, t)
	if err != nil {
		return nil, err
	}
	chains, err := nftChains(conn, t)
	if err != nil {
		return nil, err
	}
	slices.Sort(lines)
	return slices.Concat(lines, sets, chains), nil
}

func nftSets(conn *nftables.Conn, t *nftables.Table) ([]string, error) {
	sets, err := conn.GetSets(t)
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	var lines []string
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return nil, fmt.Errorf("list set %s: %w", s.Name, err)
		}
		inner := make([]string, 0, len(elements))
		for _, e := range elements {
			e.Expires = 0 // what is left of the timeout
			inner = append(inner, "    element"+fields(e, nftables.SetElement{}))
		}
		slices.Sort(inner)
		s.ID = 0
		head := "  set" + fields(s, nftables.Set{})
		lines = append(lines, strings.Join(append([]string{head}, inner...), "\n"))
	}
	slices.Sort(lines)
	return lines, nil
}

func nftChains(conn *nftables.Conn, t *nftables.Table) ([]string, error) {
	chains, err := conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var lines []string
	for _, c := range chains {
		if c.Table.Name != t.Name {
			continue
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			return nil, fmt.Errorf("list chain %s: %w", c.Name, err)
		}
		all := []string{"  chain" + fields(c, nftables.Chain{})}
		for _, r := range rules {
			all = append(all, nftRule(r))
		}
		lines = append(lines, strings.Join(all, "\n"))
	}
	slices.Sort(lines)
	return lines, nil
}

// nftRule renders the expressions of a rule, and its comment.
func nftRule(r *nftables.Rule) string {
	var b strings.Builder
	b.WriteString("    rule")
	for _, e := range r.Exprs {
		b.WriteByte(' ')
		b.WriteString(render(reflect.ValueOf(e)))
	}
	if len(r.UserData) > 0 {
		fmt.Fprintf(&b, " comment %q", r.UserData)
	}
	return b.String()
}

// legacyTables renders the tables of the older packet filter. Once a table
// was looked at it exists until the namespace goes, so a table with no rule
// in it and nothing but accepting chains is as good as none and left out.
// Where the program that reads them is missing, their names have to do.
func legacyTables() ([]string, error) {
	var lines []string
	for _, f := range []string{"ip", "ip6"} {
		// Readable names tell which tables exist; asking for another one
		// would make it.
		names, err := os.ReadFile("/proc/thread-self/net/" + f + "_tables_names")
		if err != nil {
			continue // not in this kernel
		}
		save, err := exec.LookPath(f + "tables-legacy-save")
		for _, table := range slices.Sorted(slices.Values(strings.Fields(string(names)))) {
			head := "legacy table " + f + " " + table
			if err != nil {
				lines = append(lines, head)
				continue
			}
			rules, err := legacyRules(save, table)
			if err != nil {
				return nil, err
			}
			if len(rules) > 0 {
				lines = append(append(lines, head), rules...)
			}
		}
	}
	return lines, nil
}

var (
	legacyCounters = regexp.MustCompile(`\s*\[\d+:\d+\]`)
	legacyIdle     = regexp.MustCompile(`^:\S+ ACCEPT$`)
)

// legacyRules returns the chains and rules of a table, nothing when it is
// idle.
func legacyRules(save, table string) ([]string, error) {
	out, err := exec.Command(save, "-t", table).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -t %s: %w", save, table, err)
	}
	var lines []string
	idle := true
	for line := range bytes.Lines(out) {
		text := legacyCounters.ReplaceAllString(strings.TrimSpace(string(line)), "")
		if text == "" || strings.ContainsRune("#*C", rune(text[0])) {
			continue // comments, the name of the table, COMMIT
		}
		idle = idle && legacyIdle.MatchString(text)
		lines = append(lines, "  "+text)
	}
	if idle {
		return nil, nil
	}
	return lines, nil
}
