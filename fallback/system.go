package fallback

import (
	"slices"
	"strings"
)

// System is an operating system that is set up with its own commands.
type System struct {
	Name  string // as in runtime.GOOS
	Title string // as people write it

	// Server and Client are the tables, in the order in which things are done.
	// They are undone in reverse.
	Server, Client []Line

	// Needs must all be met for the lines of the part NAT.
	Needs []Need
	// Hint is a template: what a person adds to the system's own packet filter
	// where there are no lines of the part NAT, or a need is not met.
	Hint string

	// Tunnel is what names of tunnel interfaces begin with, such as "tun".
	Tunnel string
}

// Part says what a line is for, and so which configurations need it.
type Part int

// The parts of a tunnel's host.
const (
	// Forward makes the host a router: a server that is not point-to-point.
	Forward Part = iota + 1
	// Address gives the interface its IPv4 addresses and sets it up.
	Address
	// Address6 gives it its IPv6 addresses.
	Address6
	// NAT lets a server masquerade what comes from the client.
	NAT
	// ServerRoute leads to an address of the server, past the tunnel. There is
	// one for each address.
	ServerRoute
	// ServerRoute6 is the same for a server with an IPv6 address.
	ServerRoute6
	// Route leads IPv4 into the tunnel.
	Route
	// Route6 leads IPv6 into the tunnel.
	Route6
	// Block6 leads IPv6 nowhere.
	Block6
)

// Line is one thing that is done to a host: a command and the one that takes it
// back. Both are templates; see [Expand].
type Line struct {
	Part Part
	Do   string
	// Undo may be empty: there is nothing to take back.
	Undo string

	// Input is what Do reads from its standard input: one line.
	Input string
	// Gives is the name of a variable for Undo, which Do prints behind the
	// words After.
	Gives, After string

	// Sysctl stands in the place of Do and Undo: a kernel parameter and its
	// value, which goes back to what it was.
	Sysctl string

	// To and Via are the destination and the gateway of the route that Do adds,
	// if it adds one. By them it is recognised in the kernel's table: put back
	// when somebody has removed it, and removed after a crash only if it is
	// still there as it was. A blackhole has no gateway.
	To, Via string
}

// Need is something that the administrator must have prepared.
type Need struct {
	Ask  string // a command that changes nothing
	Says string // and is part of what it prints
	Else string // what to tell the administrator
}

// For returns the system with this name (of runtime.GOOS).
func For(goos string) (System, bool) {
	i := slices.IndexFunc(Systems, func(s System) bool { return s.Name == goos })
	if i < 0 {
		return System{}, false
	}
	return Systems[i], true
}

// Programs are those that the tables of a system run.
func (s System) Programs() (names []string) {
	add := func(command string) {
		if words := strings.Fields(command); len(words) > 0 && !slices.Contains(names, words[0]) {
			names = append(names, words[0])
		}
	}
	for _, l := range slices.Concat(s.Client, s.Server) {
		add(l.Do)
		add(l.Undo)
		if l.Sysctl != "" {
			add("sysctl")
		}
	}
	for _, n := range s.Needs {
		add(n.Ask)
	}
	slices.Sort(names)
	return names
}

// HintFor is the hint, with the values of variables.
func (s System) HintFor(vars Vars) (string, error) { return expandText(s.Hint, vars) }

// gone is what commands say, in the C locale, when that which they should take
// away is not there: route(8) of all systems, ifconfig(8) of OpenBSD and of the
// others about an interface, strerror(3) of all of them for EADDRNOTAVAIL and
// ENXIO, and pfctl(8) of macOS about a token.
var gone = []string{
	"not in table",
	"no such interface",
	"does not exist",
	"Can't assign requested address",
	"Device not configured",
	"pf not enabled",
}
