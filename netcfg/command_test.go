package netcfg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
)

const serverAddr = "198.51.100.7"

// commanded is what the command line gives on these systems.
func commanded(role Role, change ...func(*Config)) func(*testing.T) Config {
	return func(t *testing.T) Config {
		c := config(role, change...)
		if role == Client && c.Servers == nil {
			c.Servers = []netip.Addr{netip.MustParseAddr(serverAddr)}
		}
		c.StateDir = filepath.Join(t.TempDir(), "state")
		return c
	}
}

func withServers(list ...string) func(*Config) {
	return func(c *Config) { c.Servers = nameServers(list...) }
}

// tunnels are the configurations that the tests below go through.
var tunnels = []struct {
	name string
	cfg  func(*testing.T) Config
	host func(*fakeHost)
}{
	{"client", commanded(Client), nil},
	{"client-tunnel6", commanded(Client, tunnel6), nil},
	{"client-off6", commanded(Client, off6), nil},
	{"client-point-to-point", commanded(Client, pointToPoint), func(h *fakeHost) { h.routes = h.routes[:4] }},
	{"client-server6", commanded(Client, withServers("2001:db8:1::7")), nil},
	{"client-servers", commanded(Client, withServers(serverAddr, "203.0.113.7", serverAddr, "2001:db8:1::7")), nil},
	{"client-near-server", commanded(Client, withServers("192.0.2.7")), nil},
	{"client-gateway", commanded(Client, func(c *Config) { c.Gateway = netip.MustParseAddr("192.0.2.2") }), nil},
	{"server", commanded(Server), nil},
	{"server-no-anchor", commanded(Server), func(h *fakeHost) { h.rules = "Status: Disabled" }},
	{"server-no-firewall", commanded(Server, noFirewall), nil},
	{"server-tunnel6", commanded(Server, tunnel6), nil},
	{"server-router", commanded(Server), func(h *fakeHost) { h.sysctls["net.inet.ip.forwarding"] = "1" }},
	{"server-point-to-point", commanded(Server, pointToPoint), nil},
}

// everywhere calls f for every configuration on every system.
func everywhere(t *testing.T, f func(t *testing.T, name string, h *fakeHost, cfg Config)) {
	for _, s := range fallback.Systems {
		for _, tt := range tunnels {
			t.Run(s.Name+"/"+tt.name, func(t *testing.T) {
				h := newFakeHost(s.Name)
				if tt.host != nil {
					tt.host(h)
				}
				f(t, s.Name+"-"+tt.name, h, tt.cfg(t))
			})
		}
	}
}

func need[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// planFor opens the device and makes a plan for it.
func planOn(t *testing.T, h *fakeHost, cfg Config) Plan {
	t.Helper()
	facts := need[Facts](t)(probeWith(h, h.system, cfg))
	h.open(cfg.Interface)
	return need[Plan](t)(MakePlan(cfg, facts))
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func unchanged(t *testing.T, before string, h *fakeHost) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(h.state(), "\n")); diff != "" {
		t.Errorf("the host has changed (-before +after):\n%s", diff)
	}
}

func noRecord(t *testing.T, cfg Config) {
	t.Helper()
	if files, err := os.ReadDir(cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory is left, with %v: %v", files, err)
	}
}

// Every plan, as commands and with what the operator is told.
func TestCommandPlans(t *testing.T) {
	everywhere(t, func(t *testing.T, name string, h *fakeHost, cfg Config) {
		plan := planOn(t, h, cfg)
		text := plan.String() + "# at the end\n" + plan.Back()
		for _, s := range plan.Notes {
			text += fmt.Sprintln("note:", s)
		}
		for _, s := range plan.Warnings {
			text += fmt.Sprintln("warning:", s)
		}
		golden(t, "commands/"+name+".txt", strings.ReplaceAll(text, cfg.StateDir, "/var/run/dsvpn"))
	})
}

// Up and down is as if nothing had been, each command runs once, and in between
// packets go where they should.
func TestCommandsUpAndDown(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		before := h.state()
		plan := planOn(t, h, cfg)
		opened := h.state()
		applied := need[*Applied](t)(Apply(t.Context(), plan, quiet))
		checkWays(t, h, cfg)
		if err := applied.Undo(); err != nil {
			t.Error(err)
		}
		unchanged(t, opened, h)
		h.close(cfg.Interface)
		unchanged(t, before, h)
		noRecord(t, cfg)

		ran := h.commands()
		slices.Sort(ran)
		if once := slices.Compact(slices.Clone(ran)); len(once) != len(ran) {
			t.Errorf("a command has run twice:\n%s", strings.Join(ran, "\n"))
		}
	})
}

// checkWays checks where packets go while a tunnel is up.
func checkWays(t *testing.T, h *fakeHost, cfg Config) {
	t.Helper()
	far, far6 := h.way("203.0.113.99"), h.way("2001:db8:ffff::1")
	if cfg.PointToPoint || cfg.Role == Server {
		if far.Interface == cfg.Interface || far6.Interface == cfg.Interface {
			t.Error("the world is in the tunnel")
		}
		if forwards := h.sysctls["net.inet.ip.forwarding"] == "1"; forwards == cfg.PointToPoint {
			t.Errorf("forwarding is %v", forwards)
		}
		return
	}
	if low := h.way("8.8.8.8"); far.Interface != cfg.Interface || low.Interface != cfg.Interface {
		t.Errorf("packets leave by %s and %s", low.Interface, far.Interface)
	}
	switch cfg.IPv6 {
	case IPv6Block:
		if low := h.way("2001::1"); !far6.Blackhole && !low.Blackhole {
			t.Error("IPv6 leaves")
		}
	case IPv6Tunnel:
		if far6.Interface != cfg.Interface || far6.Blackhole {
			t.Error("IPv6 does not go through the tunnel")
		}
	case IPv6Off:
		if far6.Interface != "em0" {
			t.Error("IPv6 is not left alone")
		}
	}
	for _, s := range cfg.Servers {
		if way := h.way(s.String()); way.Interface != "em0" || cfg.Gateway.IsValid() && way.Via != cfg.Gateway {
			t.Errorf("the way to the server %s is %+v", s, way)
		}
	}
}

// Whichever command fails, and however, all that was done is taken back.
func TestCommandsRollBack(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		plan := planOn(t, h, cfg)
		opened := h.state()
		var all []string
		for _, s := range plan.Steps {
			switch s.Action.(type) {
			case Run, setParameter:
				all = append(all, s.String())
			}
		}
		for _, how := range []int{refuses, isLacking, vanishes} {
			for _, command := range all {
				if how == vanishes && command == "pfctl -E" {
					continue // without its token, nobody can take it back
				}
				h.broken = func(c fallback.Command) (int, error) {
					if c.String() == command {
						return how, fallback.ErrTimeout
					}
					return works, nil
				}
				applied, err := Apply(t.Context(), plan, quiet)
				if err == nil && strings.HasPrefix(command, "sysctl") {
					// It was on already, or is on although the command hung.
					if err := applied.Undo(); err != nil || how != vanishes && !strings.Contains(opened, "forwarding=1") {
						t.Errorf("%s has worked: %v", command, err)
					}
					unchanged(t, opened, h)
					continue
				}
				op, ok := errors.AsType[*OpError](err)
				failed, ran := errors.AsType[*fallback.RunError](err)
				if applied != nil || !ok || op.Op == "" || !ran {
					t.Fatalf("%s: error %v", command, err)
				}
				if undo, ok := errors.AsType[*UndoError](err); ok {
					t.Errorf("%s: %v", command, undo)
				}
				if failed.Command.String() != command {
					t.Errorf("%s: the error is about %s", command, failed.Command)
				}
				unchanged(t, opened, h)
				noRecord(t, cfg)
			}
		}
	})
}

// What an undo cannot take back, a sweep can.
func TestCommandsUndoFails(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		before := h.state()
		applied := need[*Applied](t)(Apply(t.Context(), planOn(t, h, cfg), quiet))
		h.broken = func(fallback.Command) (int, error) { return refuses, nil }
		if undo, ok := errors.AsType[*UndoError](applied.Undo()); !ok {
			t.Errorf("no undo has worked, and the error is %v", undo)
		}
		h.broken = nil
		h.close(cfg.Interface)
		need[[]string](t)(sweepWith(h, cfg.StateDir))
		unchanged(t, before, h)
		noRecord(t, cfg)
	})
}

// Two VPNs cannot both take everything, whether the system minds or not. If the
// other comes between our look and our command, what the system says counts.
func TestCommandsOtherVPN(t *testing.T) {
	for _, s := range fallback.Systems {
		theirs := link.Entry{To: netip.MustParsePrefix("128.0.0.0/1"), Via: netip.MustParseAddr("192.0.2.77"), Interface: "em0", Static: true}
		for _, hidden := range []bool{false, true} {
			h, cfg := newFakeHost(s.Name), commanded(Client)(t)
			if theirs.Static = !hidden; hidden && s.Name == "freebsd" {
				continue // it does not mind
			}
			h.routes = append(h.routes, theirs)
			before := h.state()
			plan := planOn(t, h, cfg)
			_, err := Apply(t.Context(), plan, quiet)
			op, ok := errors.AsType[*OpError](err)
			if !ok || op.Object != "128.0.0.0/1" || hidden != strings.Contains(err.Error(), "File exists") {
				t.Errorf("%s: error %v", s.Title, err)
			}
			h.close(cfg.Interface)
			unchanged(t, before, h)
		}
	}
}

// An interface that somebody has removed takes its addresses with it.
func TestCommandsInterfaceGone(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		before := h.state()
		for _, terse := range []bool{false, true} {
			h.terse = terse
			applied := need[*Applied](t)(Apply(t.Context(), planOn(t, h, cfg), quiet))
			h.close(cfg.Interface)
			if err := applied.Undo(); err != nil {
				t.Error(err)
			}
			unchanged(t, before, h)
			noRecord(t, cfg)
		}
	})
}

// crash applies a plan as a process does that is killed afterwards: there is a
// record, and nobody who has the lock on it.
func crash(t *testing.T, h *fakeHost, cfg Config) {
	t.Helper()
	plan := planOn(t, h, cfg)
	for i, s := range plan.Steps {
		if r, ok := s.Action.(KeepRecord); ok {
			if err := os.MkdirAll(filepath.Dir(r.File), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.File, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			plan.Steps = slices.Delete(plan.Steps, i, i+1)
			break
		}
	}
	need[*Applied](t)(Apply(t.Context(), plan, quiet))
	h.close(cfg.Interface)
}

// After a crash, a sweep takes back everything, and the next one nothing.
func TestCommandsSweep(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		before := h.state()
		crash(t, h, cfg)
		crashed := h.state()
		h.commands()
		removed := need[[]string](t)(sweepWith(h, cfg.StateDir))
		if (crashed != before) != (len(removed) > 0) {
			t.Errorf("the sweep has removed %q", removed)
		}
		unchanged(t, before, h)
		noRecord(t, cfg)
		if ran := h.commands(); len(ran) != len(removed) {
			t.Errorf("for %q it has run %q", removed, ran)
		}
		if removed, err := sweepWith(h, cfg.StateDir); len(removed) > 0 || err != nil || len(h.commands()) > 0 {
			t.Errorf("the second sweep has removed %q, %v", removed, err)
		}
	})
}

// A start after a crash is like any other.
func TestCommandsStartAfterCrash(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		before := h.state()
		crash(t, h, cfg)
		plan := planOn(t, h, cfg)
		need[[]string](t)(sweepWith(h, cfg.StateDir))
		applied := need[*Applied](t)(Apply(t.Context(), plan, quiet))
		checkWays(t, h, cfg)
		if err := applied.Undo(); err != nil {
			t.Error(err)
		}
		h.close(cfg.Interface)
		unchanged(t, before, h)
	})
}

// A sweep leaves alone what a running process has, and what somebody else has
// made since the crash.
func TestCommandsSweepSpares(t *testing.T) {
	everywhere(t, func(t *testing.T, _ string, h *fakeHost, cfg Config) {
		applied := need[*Applied](t)(Apply(t.Context(), planOn(t, h, cfg), quiet))
		up := h.state()
		if removed, err := sweepWith(h, cfg.StateDir); len(removed) > 0 || err != nil {
			t.Errorf("the sweep has removed %q, %v", removed, err)
		}
		unchanged(t, up, h)
		if err := applied.Undo(); err != nil {
			t.Error(err)
		}
	})
	h, cfg := newFakeHost("netbsd"), commanded(Client)(t)
	crash(t, h, cfg)
	theirs := netip.MustParseAddr("192.0.2.99")
	h.change(func(routes []link.Entry) []link.Entry {
		for i := range routes {
			if routes[i].To.Addr() == cfg.Servers[0] {
				routes[i].Via = theirs
			}
		}
		return routes
	})
	need[[]string](t)(sweepWith(h, cfg.StateDir))
	if way := h.way(serverAddr); way.Via != theirs {
		t.Errorf("somebody else's route has become %+v", way)
	}
}

// The last line may be cut off, and anything else that is wrong is an error that
// names the file.
func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tun0"+recordSuffix)
	release := need[func() error](t)(holdRecord(file))
	one := entry{Undo: fallback.Command{Args: []string{"route", "delete", "one"}}}
	two := entry{Undo: fallback.Command{Args: []string{"route", "delete", "two"}}}
	done := one
	done.Done = true
	for _, e := range []entry{one, two, done} {
		if err := note(file, e); err != nil {
			t.Fatal(err)
		}
	}
	f := need[*os.File](t)(os.OpenFile(file, os.O_RDWR|os.O_APPEND, 0))
	defer f.Close()
	need[int](t)(f.WriteString(`{"undo":{"args":["route","del`))
	left := need[[]entry](t)(pending(f))
	if len(left) != 1 || left[0].Undo.Args[2] != "two" {
		t.Errorf("left is %+v", left)
	}
	if err := eachRecord(filepath.Dir(file), func(r record) error {
		if !r.Alive || r.Left != nil || r.Interface != "tun0" {
			t.Errorf("the record is %+v", r)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("a record with something left is gone: %v", err)
	}
	need[int](t)(f.WriteString("\n"))
	if _, err := sweepWith(newFakeHost("openbsd"), filepath.Dir(file)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a damaged record is the error %v", err)
	}
}

// guardFake guards a client on a fake host until the test ends.
func guardFake(t *testing.T, h *fakeHost, cfg Config) *Applied {
	t.Helper()
	before := h.state()
	applied := need[*Applied](t)(Apply(t.Context(), planOn(t, h, cfg), quiet))
	ctx, stop := context.WithCancel(t.Context())
	work := need[func()](t)(applied.Guard(ctx, cfg, func() {}))
	ended := make(chan struct{})
	go func() { defer close(ended); work() }()
	t.Cleanup(func() {
		stop()
		<-ended
		if err := applied.Undo(); err != nil {
			t.Error(err)
		}
		h.close(cfg.Interface)
		h.change(func(routes []link.Entry) []link.Entry { // the router is back
			for i := range routes {
				if routes[i].To.String() == "0.0.0.0/0" {
					routes[i].Via = netip.MustParseAddr("192.0.2.1")
				}
			}
			return routes
		})
		unchanged(t, before, h)
		noRecord(t, cfg)
	})
	return applied
}

// comes waits for a route to the server.
func comes(t *testing.T, h *fakeHost, server, via string) {
	t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		way := h.way(server)
		if way.To.IsSingleIP() && way.Via.String() == via {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("the way to %s is %+v, want one via %s", server, way, via)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// The route to the server follows the router, and comes back when the system
// has dropped it with the network.
func TestCommandsFollow(t *testing.T) {
	for _, s := range fallback.Systems {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			h, cfg := newFakeHost(s.Name), commanded(Client)(t)
			guardFake(t, h, cfg)
			h.change(func(routes []link.Entry) []link.Entry {
				for i := range routes {
					if routes[i].To.String() == "0.0.0.0/0" {
						routes[i].Via = netip.MustParseAddr("192.0.2.2")
					}
				}
				return routes
			})
			comes(t, h, serverAddr, "192.0.2.2")
			table := need[[]link.Entry](t)(h.Table())
			ways := slices.DeleteFunc(table, func(e link.Entry) bool { return e.To.String() != serverAddr+"/32" })
			if len(ways) != 1 {
				t.Errorf("there are the ways %+v", ways)
			}
			h.change(func(routes []link.Entry) []link.Entry {
				return slices.DeleteFunc(routes, func(e link.Entry) bool { return e.To.String() == serverAddr+"/32" })
			})
			comes(t, h, serverAddr, "192.0.2.2")
		})
	}
}

// A way that cannot be made for now is made when it can.
func TestCommandsFollowLater(t *testing.T) {
	t.Parallel()
	h, cfg := newFakeHost("darwin"), commanded(Client)(t)
	applied := guardFake(t, h, cfg)
	h.mu.Lock()
	h.broken = func(c fallback.Command) (int, error) {
		if slices.Contains(c.Args, "add") {
			return refuses, nil
		}
		return works, nil
	}
	h.mu.Unlock()
	applied.Reach(cfg, nameServers("203.0.113.8"))
	h.mu.Lock()
	h.broken = nil
	h.mu.Unlock()
	h.change(func(routes []link.Entry) []link.Entry { return routes })
	comes(t, h, "203.0.113.8", "192.0.2.1")
}

// A router that was away for a moment, in which the way by another one could not
// be made, has its way again.
func TestCommandsFollowBack(t *testing.T) {
	t.Parallel()
	h, cfg := newFakeHost("freebsd"), commanded(Client)(t)
	guardFake(t, h, cfg)
	router := func(addr string) func([]link.Entry) []link.Entry {
		return func(routes []link.Entry) []link.Entry {
			for i := range routes {
				if routes[i].To.String() == "0.0.0.0/0" {
					routes[i].Via = netip.MustParseAddr(addr)
				}
			}
			return routes
		}
	}
	broken := make(chan struct{}, 1)
	h.change(func(routes []link.Entry) []link.Entry {
		h.broken = func(c fallback.Command) (int, error) {
			if !slices.Contains(c.Args, "add") {
				return works, nil
			}
			select {
			case broken <- struct{}{}:
			default:
			}
			return refuses, nil
		}
		return router("192.0.2.2")(routes)
	})
	<-broken
	h.change(func(routes []link.Entry) []link.Entry {
		h.broken = nil
		return router("192.0.2.1")(routes)
	})
	comes(t, h, serverAddr, "192.0.2.1")
}

// When the name of the server means another address, the way there is made
// before anybody goes it.
func TestReach(t *testing.T) {
	for _, s := range fallback.Systems {
		h, cfg := newFakeHost(s.Name), commanded(Client)(t)
		applied := guardFake(t, h, cfg)
		h.commands()
		applied.Reach(cfg, cfg.Servers)
		if ran := h.commands(); len(ran) > 0 {
			t.Errorf("for the same server %q has run", ran)
		}
		applied.Reach(cfg, nameServers("203.0.113.8", "2001:db8:1::8"))
		for _, a := range []string{"203.0.113.8", "2001:db8:1::8"} {
			if way := h.way(a); way.Interface != "em0" {
				t.Errorf("the way to %s is %+v", a, way)
			}
		}
		if way := h.way(serverAddr); way.Interface != cfg.Interface {
			t.Errorf("the way to the former address is %+v", way)
		}
		applied.Reach(cfg, cfg.Servers)
		comes(t, h, serverAddr, "192.0.2.1")
	}
}

// What cannot be had is an error before anything has changed, or a note.
func TestCommandsRefuse(t *testing.T) {
	noDefault := func(h *fakeHost) {
		h.routes = slices.DeleteFunc(h.routes, func(e link.Entry) bool { return e.To.Bits() == 0 })
	}
	pointToPointUplink := func(h *fakeHost) {
		for i := range h.routes {
			if h.routes[i].To.Bits() == 0 {
				h.routes[i].Via = netip.Addr{}
			}
		}
	}
	for _, s := range fallback.Systems {
		for _, tt := range []struct {
			cfg  func(*testing.T) Config
			host func(*fakeHost)
			err  string
		}{
			{commanded(Client, killSwitch), nil, "--kill-switch is for Linux"},
			{commanded(Client, keepClosed), nil, "--keep-closed is for Linux"},
			{commanded(Client, keepInbound), nil, "--keep-inbound is for Linux"},
			{commanded(Client, wantDNS("10.0.0.1")), nil, "--dns is for Linux"},
			{commanded(Client, iptables), nil, "--firewall iptables is for Linux"},
			{commanded(Client, smallMTU), nil, "--mtu of at least 1280"},
			{commanded(Client), noDefault, "name the router as GATEWAY"},
			{commanded(Client), pointToPointUplink, "name one as GATEWAY"},
			{commanded(Server), noDefault, "name the external interface"},
			{commanded(Server, uplinkEth9), nil, "external interface eth9 does not exist"},
			{commanded(Client), func(h *fakeHost) {
				h.interfaces[1].Addrs = append(h.interfaces[1].Addrs, netip.MustParsePrefix("192.168.192.1/24"))
			}, "192.168.192.1 is in use on em0"},
		} {
			h, cfg := newFakeHost(s.Name), tt.cfg(t)
			if tt.host != nil {
				tt.host(h)
			}
			facts := need[Facts](t)(probeWith(h, s.Name, cfg))
			if _, err := MakePlan(cfg, facts); err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want one with %q", s.Title, err, tt.err)
			}
			if ran := h.commands(); len(ran) > 0 {
				t.Errorf("%s: it has run %q", s.Title, ran)
			}
		}
	}
	if _, err := MakePlan(config(Client), Facts{System: "plan9"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a system without commands is the error %v", err)
	}
	shared := config(Server, killSwitch, keepClosed, wantDNS("10.0.0.1"), func(c *Config) { c.Mark, c.Table = 1, 2 })
	plan, err := MakePlan(shared, Imagine("openbsd", "em1", []netip.Addr{netip.MustParseAddr("192.0.2.1")}))
	if err != nil || !slices.Contains(plan.Notes, "without meaning on OpenBSD: --mark, --table") {
		t.Errorf("flags of the client for a server: %v, %q", err, plan.Notes)
	}
}

// A plan that nobody has read the facts of can be read, and does nothing.
func TestImaginedPlanDoesNothing(t *testing.T) {
	for _, role := range []Role{Client, Server} {
		plan := need[Plan](t)(MakePlan(config(role), Imagine("freebsd", "", nameServers("192.0.2.1"))))
		if _, err := Apply(t.Context(), plan, quiet); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v: error %v", role, err)
		}
	}
}

// Whoever adds a system may use the port in a table, too.
func TestPortInTable(t *testing.T) {
	cfg := config(Client)
	cfg.Port = 8443
	c := &commands{&Plan{}, cfg, Facts{}, fallback.System{}, commandVars(cfg)}
	line := fallback.Line{Part: fallback.Address, Do: "note $IF_NAME $EXT_PORT"}
	if err := c.add([]fallback.Line{line}, nil, fallback.Address); err != nil || !strings.Contains(c.String(), cfg.Interface+" 8443\n") {
		t.Errorf("%v: %q", err, c.String())
	}
}

// A route that an administrator has made to the server stays theirs.
func TestTheirHostRoute(t *testing.T) {
	for _, s := range fallback.Systems {
		h, cfg := newFakeHost(s.Name), commanded(Client)(t)
		h.routes = append(h.routes, link.Entry{To: netip.MustParsePrefix(serverAddr + "/32"),
			Via: netip.MustParseAddr("192.0.2.66"), Interface: "em0", Static: true})
		before := h.state()
		applied := need[*Applied](t)(Apply(t.Context(), planOn(t, h, cfg), quiet))
		checkWays(t, h, cfg)
		if err := applied.Undo(); err != nil {
			t.Error(err)
		}
		h.close(cfg.Interface)
		unchanged(t, before, h)
	}
}

// The kernel takes the lock on a record from a process that dies.
func TestRecordOfTheDead(t *testing.T) {
	const variable = "TEST_RECORD"
	if file := os.Getenv(variable); file != "" { // we are that process
		need[func() error](t)(holdRecord(file))
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin)
		return
	}
	file := filepath.Join(t.TempDir(), "tun0"+recordSuffix)
	child := exec.Command(os.Args[0], "-test.run=^TestRecordOfTheDead$")
	child.Env = append(os.Environ(), variable+"="+file)
	need[io.WriteCloser](t)(child.StdinPipe()) // at whose end it would end
	output := need[io.ReadCloser](t)(child.StdoutPipe())
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Wait()
	defer child.Process.Kill()
	if line, err := bufio.NewReader(output).ReadString('\n'); line != "held\n" {
		t.Fatalf("the process says %q, %v", line, err)
	}
	alive := func() (alive bool) {
		err := eachRecord(filepath.Dir(file), func(r record) error { alive = r.Alive; return nil })
		if err != nil {
			t.Error(err)
		}
		return alive
	}
	if !alive() {
		t.Error("a process that runs counts as dead")
	}
	child.Process.Kill()
	child.Wait()
	if alive() {
		t.Error("a process that was killed counts as alive")
	}
}
