package fallback

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Command is a program and its arguments.
type Command struct {
	Args  []string `json:"args"`            // the name of the program first
	Input string   `json:"input,omitempty"` // what it reads from its standard input
}

// String is the command as a person would type it in a shell.
func (c Command) String() string {
	line := quoted(c.Args)
	if c.Input != "" {
		return "echo " + quoted([]string{c.Input}) + " | " + line
	}
	return line
}

// quoted makes one line of words, with quotes around those that a shell would
// take for something else.
func quoted(words []string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"
	odd := func(r rune) bool { return !strings.ContainsRune(plain, r) }
	line := make([]string, len(words))
	for i, w := range words {
		if line[i] = w; w == "" || strings.ContainsFunc(w, odd) {
			line[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(line, " ")
}

// Change is a line of a table with the values of its variables.
type Change struct {
	Part     Part
	Do, Undo Command // Undo has no arguments where there is nothing to take back

	// Gives and After are as in [Line]. The argument of Undo that is the
	// variable gets its value from [Change.Given].
	Gives, After string

	// Name and Value are a kernel parameter instead of commands.
	Name, Value string

	To  netip.Prefix // the route that Do adds; the zero Prefix is none
	Via netip.Addr   // its gateway; the zero Addr is none: a blackhole
}

// Expand puts the values of variables into a line.
func (l Line) Expand(vars Vars) (c Change, err error) {
	c = Change{Part: l.Part, Gives: l.Gives, After: l.After}
	if l.Sysctl != "" {
		var ok bool
		if c.Name, c.Value, ok = strings.Cut(l.Sysctl, "="); !ok {
			return c, fmt.Errorf("%s: neither a name nor a value", l.Sysctl)
		}
		return c, nil
	}
	if c.Do.Args, err = Expand(l.Do, vars); err != nil {
		return c, err
	}
	if c.Do.Input, err = expandText(l.Input, vars); err != nil {
		return c, err
	}
	if l.Gives != "" {
		vars = vars.with(l.Gives, "$"+l.Gives) // which nobody knows yet
	}
	if c.Undo.Args, err = Expand(l.Undo, vars); err != nil {
		return c, err
	}
	if l.To != "" {
		err = c.route(l, vars)
	}
	return c, err
}

// route reads the destination and the gateway of a route. The destination may
// be one address.
func (c *Change) route(l Line, vars Vars) error {
	to, err := vars.replace(l.To)
	if err != nil {
		return err
	}
	if host, addrErr := netip.ParseAddr(to); addrErr == nil {
		c.To = netip.PrefixFrom(host, host.BitLen())
	} else if c.To, err = netip.ParsePrefix(to); err != nil {
		return err
	}
	if l.Via == "" {
		return nil
	}
	via, err := vars.replace(l.Via)
	if err == nil {
		c.Via, err = netip.ParseAddr(via)
	}
	return err
}

// Given returns Undo, with what Do has printed in its place. Without it there is
// nothing that could be taken back.
func (c Change) Given(output string) (Command, error) {
	if c.Gives == "" {
		return c.Undo, nil
	}
	_, after, found := strings.Cut(output, c.After)
	value, _, _ := strings.Cut(after, "\n")
	if value = strings.TrimSpace(value); !found || value == "" || strings.HasPrefix(value, "-") {
		return Command{}, fmt.Errorf("%s: there is no %q in what it says: %q", c.Do, c.After, clip(output))
	}
	undo := c.Undo
	undo.Args = slices.Clone(undo.Args)
	for i, a := range undo.Args {
		if a == "$"+c.Gives {
			undo.Args[i] = value
		}
	}
	return undo, nil
}

// Back is Undo as a person would type it, who knows what Do has printed.
func (c Change) Back() string {
	return strings.ReplaceAll(c.Undo.String(), "'$"+c.Gives+"'", "$"+c.Gives)
}

func (v Vars) with(name, value string) Vars {
	more := Vars{name: value}
	for n, old := range v {
		if n != name {
			more[n] = old
		}
	}
	return more
}
