package netcfg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
)

// fakeHost understands the commands that set up macOS and the BSDs, in the way
// of one of these systems: it is strict about what their manuals say, and has
// the traps that their sources show.
type fakeHost struct {
	mu         sync.Mutex
	terse      bool // ifconfig does not say what is wrong
	system     string
	interfaces []link.Interface
	routes     []link.Entry
	sysctls    map[string]string
	anchors    map[string]string // rules of pf, by anchor
	rules      string            // what pfctl -s shows
	tokens     map[string]bool   // of pfctl -E
	given      int               // how many there have been

	ran    []string                              // what has changed something, or tried to
	broken func(c fallback.Command) (int, error) // see run
	events chan struct{}
}

// Ways in which a command of a fake host is broken.
const (
	works     = iota
	refuses   // it does nothing and says so
	vanishes  // it does its work, and nobody learns that
	isLacking // it is not installed
)

func newFakeHost(system string) *fakeHost {
	h := &fakeHost{
		system: system,
		interfaces: []link.Interface{
			{Name: "lo0", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}},
			{Name: "em0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::10/64")}},
		},
		sysctls: map[string]string{"net.inet.ip.forwarding": "0"},
		anchors: map[string]string{},
		tokens:  map[string]bool{},
		rules: "Status: Enabled for 3 days\n" + `anchor "dsvpn/*" all` + "\n" +
			`nat-anchor "com.apple/*" all` + "\n" + `anchor "com.apple/*" all`,
		events: make(chan struct{}, 1),
	}
	for _, i := range h.interfaces {
		for _, a := range i.Addrs {
			h.routes = append(h.routes, link.Entry{To: a.Masked(), Interface: i.Name})
		}
	}
	h.routes = append(h.routes,
		link.Entry{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.0.2.1"), Interface: "em0", Static: true},
		link.Entry{To: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8::1"), Interface: "em0", Static: true},
	)
	return h
}

// state is all of the host, for comparison.
func (h *fakeHost) state() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for _, i := range h.interfaces {
		lines = append(lines, fmt.Sprint("interface ", i.Name, i.Addrs))
	}
	for _, r := range h.routes {
		lines = append(lines, fmt.Sprintf("route %+v", r))
	}
	for name, value := range h.sysctls {
		lines = append(lines, "sysctl "+name+"="+value)
	}
	for name, rules := range h.anchors {
		lines = append(lines, "anchor "+name+": "+rules)
	}
	lines = append(lines, fmt.Sprint("pf tokens ", slices.Sorted(maps.Keys(h.tokens))))
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// open makes a tunnel interface, and close removes it with all that belongs to
// it, as the kernel does when a device is closed.
func (h *fakeHost) open(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interfaces = append(h.interfaces, link.Interface{Name: name})
}

func (h *fakeHost) close(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interfaces = slices.DeleteFunc(h.interfaces, func(i link.Interface) bool { return i.Name == name })
	h.routes = slices.DeleteFunc(h.routes, func(r link.Entry) bool { return r.Interface == name })
}

// change is what somebody else does to the routes.
func (h *fakeHost) change(f func(routes []link.Entry) []link.Entry) {
	h.mu.Lock()
	h.routes = f(h.routes)
	h.mu.Unlock()
	select {
	case h.events <- struct{}{}:
	default:
	}
}

func (h *fakeHost) Interfaces() ([]link.Interface, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.interfaces), nil
}

func (h *fakeHost) Table() ([]link.Entry, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.routes), nil
}

func (h *fakeHost) Watch(context.Context) (<-chan struct{}, error) { return h.events, nil }

// commands are those that have run since the last call.
func (h *fakeHost) commands() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ran := h.ran
	h.ran = nil
	return ran
}

// way is the route that a packet takes.
func (h *fakeHost) way(to string) (best link.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.routes {
		if r.To.Contains(netip.MustParseAddr(to)) && (!best.To.IsValid() || r.To.Bits() > best.To.Bits()) {
			best = r
		}
	}
	return best
}

// Run does what a command does. Messages are those of the systems.
func (h *fakeHost) Run(c fallback.Command) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	fail := func(said string, err error) (string, error) {
		return said, &fallback.RunError{Command: c, Output: said, Err: err}
	}
	how, cause := works, error(nil)
	if changes := !slices.Contains(c.Args, "-n") || c.Args[0] == "route"; changes && !slices.Contains(c.Args, "-s") {
		h.ran = append(h.ran, c.String())
		if h.broken != nil {
			how, cause = h.broken(c)
		}
	}
	switch how {
	case refuses:
		return fail("Operation not permitted", fallback.ExitStatus(1))
	case isLacking:
		return fail("", exec.ErrNotFound)
	}
	said, err := h.perform(c)
	if how == vanishes {
		return fail("", cause)
	}
	switch {
	case err == nil:
		return said, nil
	case h.system == "darwin" && c.Args[0] == "route" && !strings.HasPrefix(err.Error(), "usage"):
		return err.Error(), nil // its newroute does not end with the status of the kernel's answer
	}
	return fail(err.Error(), fallback.ExitStatus(1))
}

func (h *fakeHost) perform(c fallback.Command) (said string, err error) {
	args := c.Args[1:]
	switch c.Args[0] {
	case "ifconfig":
		return "", h.ifconfig(args)
	case "route":
		return "", h.route(args)
	case "sysctl":
		return h.sysctl(args)
	case "pfctl":
		if h.system == "darwin" || h.system == "openbsd" {
			return h.pfctl(args, c.Input)
		}
	}
	return "", errors.New(c.Args[0] + ": not found")
}

func (h *fakeHost) ifconfig(args []string) error {
	i := slices.IndexFunc(h.interfaces, func(i link.Interface) bool { return i.Name == args[0] })
	if i < 0 && h.terse {
		return errors.New("ifconfig: SIOCDIFADDR: something is wrong")
	}
	if i < 0 {
		return map[bool]error{true: fmt.Errorf("ifconfig: %s: no such interface", args[0]),
			false: fmt.Errorf("ifconfig: interface %s does not exist", args[0])}[h.system == "openbsd"]
	}
	rest := args[1:]
	is6 := rest[0] == "inet6"
	if is6 || rest[0] == "inet" {
		rest = rest[1:]
	}
	local, err := netip.ParseAddr(rest[0])
	if err != nil || local.Is6() != is6 {
		return fmt.Errorf("ifconfig: %s: bad value", rest[0])
	}
	own := netip.PrefixFrom(local, local.BitLen())
	switch remove := strings.Join(rest[1:], " "); {
	case remove == "delete", remove == "-alias":
		if !slices.Contains(h.interfaces[i].Addrs, own) {
			return errors.New("ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address")
		}
		h.interfaces[i].Addrs = slices.DeleteFunc(h.interfaces[i].Addrs, func(p netip.Prefix) bool { return p == own })
		h.routes = slices.DeleteFunc(h.routes, func(r link.Entry) bool {
			return r.Interface == args[0] && !r.Static && r.To.Addr().Is6() == is6
		})
		return nil
	case len(rest) < 3 || rest[len(rest)-1] != "up" || is6 && remove != rest[1]+" prefixlen 128 up" || !is6 && len(rest) != 3:
		return fmt.Errorf("ifconfig: %s: bad value", remove)
	}
	peer, err := netip.ParseAddr(rest[1])
	if err != nil || peer.Is6() != is6 {
		return fmt.Errorf("ifconfig: %s: bad value", rest[1])
	}
	h.interfaces[i].Addrs = append(slices.Clone(h.interfaces[i].Addrs), own)
	h.routes = append(h.routes, link.Entry{To: netip.PrefixFrom(peer, peer.BitLen()), Interface: args[0]})
	return nil
}

func (h *fakeHost) route(args []string) error {
	usage := fmt.Errorf("usage: route: %q", args)
	if len(args) < 3 || args[0] != "-n" {
		return usage
	}
	command, args := args[1], args[2:]
	r := link.Entry{Static: true}
	is6, isHost := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-inet6":
			is6 = true
		case "-host":
			isHost = true
		case "-net":
		case "-blackhole":
			r.Blackhole = true
		default:
			return usage
		}
		args = args[1:]
	}
	if len(args) == 0 || len(args) > 2 {
		return usage
	}
	to, err := netip.ParsePrefix(args[0]) // with four numbers: see the comment on fallback.Systems
	if isHost {
		var a netip.Addr
		a, err = netip.ParseAddr(args[0])
		to = netip.PrefixFrom(a, a.BitLen())
	}
	if err != nil || to.Addr().Is6() != is6 || to != to.Masked() {
		return fmt.Errorf("route: bad address: %s", args[0])
	}
	r.To = to
	if len(args) == 2 {
		if r.Via, err = netip.ParseAddr(args[1]); err != nil || r.Via.Is6() != is6 {
			return fmt.Errorf("route: bad address: %s", args[1])
		}
	}
	switch command {
	case "add":
		return h.addRoute(r)
	case "delete":
		return h.deleteRoute(r)
	}
	return usage
}

func (h *fakeHost) addRoute(r link.Entry) error {
	i := slices.IndexFunc(h.routes, func(near link.Entry) bool { return !near.Via.IsValid() && near.To.Contains(r.Via) })
	if i < 0 {
		return errors.New("route: writing to routing socket: Network is unreachable")
	}
	r.Interface = h.routes[i].Interface
	for _, old := range h.routes {
		// FreeBSD takes two gateways to one destination (net.route.multipath).
		if old.To == r.To && (h.system != "freebsd" || old.Via == r.Via) {
			return fmt.Errorf("route: writing to routing socket: File exists\nadd net %s: gateway %s: route already in table", r.To, r.Via)
		}
	}
	if r.Blackhole && h.system == "freebsd" {
		r.Via, r.Interface = netip.IPv6Loopback(), "lo0"
	}
	h.routes = append(slices.Clone(h.routes), r)
	return nil
}

func (h *fakeHost) deleteRoute(r link.Entry) error {
	comparesGateway := h.system == "freebsd" || h.system == "openbsd"
	for i, old := range h.routes {
		if old.To == r.To && (!comparesGateway || !r.Via.IsValid() || old.Via == r.Via) {
			h.routes = slices.Delete(slices.Clone(h.routes), i, i+1)
			return nil
		}
	}
	return fmt.Errorf("route: writing to routing socket: No such process\ndelete net %s: gateway %s: not in table", r.To, r.Via)
}

func (h *fakeHost) sysctl(args []string) (string, error) {
	if len(args) != 2 {
		return "", errors.New("usage: sysctl")
	}
	name, value, _ := strings.Cut(args[1], "=")
	old, ok := h.sysctls[name]
	switch {
	case !ok:
		return "", fmt.Errorf("sysctl: unknown oid '%s'", name)
	case args[0] == "-n" && value == "":
		return old + "\n", nil
	case args[0] != "-w" || value == "":
		return "", errors.New("usage: sysctl")
	}
	h.sysctls[name] = value
	return fmt.Sprintf("%s: %s -> %s\n", name, old, value), nil
}

func (h *fakeHost) pfctl(args []string, input string) (string, error) {
	flushed := map[string]string{"darwin": "nat", "openbsd": "rules"}[h.system]
	switch line := strings.Join(args, " "); {
	case args[0] == "-s":
		return h.rules, nil
	case len(args) == 4 && args[0] == "-a" && line == "-a "+args[1]+" -f -":
		if input == "" {
			return "", errors.New("pfctl: no rules")
		}
		h.anchors[args[1]] = input
		return "", nil
	case len(args) == 4 && args[0] == "-a" && line == "-a "+args[1]+" -F "+flushed:
		delete(h.anchors, args[1])
		return "nat cleared\n", nil
	case line == "-E" && h.system == "darwin":
		h.given++
		token := fmt.Sprint(18446743520000000000 + uint64(h.given))
		h.tokens[token] = true
		return "No ALTQ support in kernel\nALTQ related functions disabled\npf enabled\nToken : " + token + "\n", nil
	case len(args) == 2 && args[0] == "-X" && h.system == "darwin":
		if !h.tokens[args[1]] {
			return "", errors.New("pfctl: pf not enabled")
		}
		delete(h.tokens, args[1])
		return "disable request successful. 0 more pf enable reference(s) remaining\n", nil
	}
	return "", fmt.Errorf("usage: pfctl: %q", args)
}
