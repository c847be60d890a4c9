package netcfg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/firewall/ipt"
	"dsvpn/netcfg/firewall/nft"
	"dsvpn/netcfg/link"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

// newHost makes a host with an uplink, eth0, to a router:
//
//	host eth0 192.0.2.10 ---- 192.0.2.1 up router
func newHost(t *testing.T) *netlab.Host {
	t.Helper()
	lab := netlabtest.New(t)
	host, router := netlabtest.Host(t, lab, "host"), netlabtest.Host(t, lab, "router")
	must(t, lab.Cable(
		netlab.End{Host: host, Interface: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::10/64")}},
		netlab.End{Host: router, Interface: "up", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24"), netip.MustParsePrefix("2001:db8::1/64")}},
	))
	must(t, host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.0.2.1")))
	must(t, host.AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8::1")))
	return host
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openTun makes a tun interface on the current thread's host. It is gone when
// the file is closed, as it is when a process dies.
func openTun(t *testing.T, name string) *os.File {
	t.Helper()
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: DefaultMTU},
		Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Queues: 1, NonPersist: true}
	must(t, netlink.LinkAdd(link))
	return link.Fds[0]
}

// closeTun closes a tun interface and waits until it is gone. That may take a
// moment: a process that another test is starting just now has the descriptor
// too, until it runs its own program.
func closeTun(t *testing.T, dev *os.File, name string) {
	t.Helper()
	must(t, dev.Close())
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := netlink.LinkByName(name); errors.As(err, new(netlink.LinkNotFoundError)) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("interface %s outlives its file", name)
		}
	}
}

// up does on the current thread's host what a start does, but for the
// failures: open the interface, sweep, apply.
func up(t *testing.T, cfg Config) (*os.File, *Applied) {
	t.Helper()
	plan := planFor(t, cfg)
	dev := openTun(t, cfg.Interface)
	_, err := Sweep(cfg.Interface, plan, cfg.StateDir)
	must(t, err)
	applied, err := Apply(t.Context(), plan, discard)
	must(t, err)
	return dev, applied
}

func planFor(t *testing.T, cfg Config) Plan {
	t.Helper()
	facts, err := Probe(cfg)
	must(t, err)
	plan, err := MakePlan(cfg, facts)
	must(t, err)
	return plan
}

// snapshot is the state of the current thread's host, but for what the kernel
// does in its own time or with chance to an interface that is set up: its
// link-local address, and the routes that follow from IPv6 addresses.
func snapshot(t *testing.T) string {
	t.Helper()
	s, err := netlab.Snapshot()
	must(t, err)
	var b strings.Builder
	for line := range strings.Lines(s) {
		if strings.Contains(line, " fe80:") || strings.HasPrefix(line, "route ip6") && strings.Contains(line, "Protocol=kernel") ||
			strings.Contains(line, "/tun0/addr_gen_mode") {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}

// same fails the test when two snapshots differ.
func same(t *testing.T, what, before, after string) {
	t.Helper()
	if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
		t.Errorf("%s: the host differs (-before +after):\n%s", what, diff)
	}
}

// on runs a test function on the thread of a host. What it fails with t.Fatal
// ends the host, and the test.
func on(t *testing.T, h *netlab.Host, f func()) {
	t.Helper()
	if err := h.Do(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// added is what a state has more than another, a line each.
func added(before, after string) string {
	had := map[string]int{}
	for line := range strings.Lines(before) {
		had[line]++
	}
	var b strings.Builder
	for line := range strings.Lines(after) {
		if had[line]--; had[line] < 0 {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Both kinds of iptables, which is one or the other on a host of an operator.
const (
	iptablesNFT    FirewallKind = "iptables-nft"
	iptablesLegacy FirewallKind = "iptables-legacy"
)

func init() {
	for _, kind := range []FirewallKind{iptablesNFT, iptablesLegacy} {
		firewalls[kind] = ipt.New(string(kind))
	}
}

func with(kind FirewallKind) func(*Config) { return func(c *Config) { c.Firewall = kind } }

// ways are the kinds of tunnel that the tests below go through, with each kind
// of firewall.
func ways(t *testing.T) map[string]Config {
	netlabtest.Need(t, "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")
	stored := func(c *Config) { c.StateDir = t.TempDir() + "/state" }
	all := map[string]Config{
		"client":            config(Client, stored),
		"client-tunnel6":    config(Client, stored, tunnel6),
		"client-off6":       config(Client, stored, off6),
		"client-killswitch": config(Client, stored, killSwitch),
		"client-inbound":    config(Client, stored, keepInbound),
		"server":            config(Server, stored),
		"server-tunnel6":    config(Server, stored, tunnel6),
		"server-off6":       config(Server, stored, off6),
		"point-to-point":    config(Client, stored, pointToPoint),
	}
	for _, kind := range []FirewallKind{iptablesNFT, iptablesLegacy} {
		all["client-"+string(kind)] = config(Client, stored, with(kind))
		all["client-off6-"+string(kind)] = config(Client, stored, with(kind), off6)
		all["client-guarded-"+string(kind)] = config(Client, stored, with(kind), killSwitch, func(c *Config) { c.KeepInbound = true })
		all["server-"+string(kind)] = config(Server, stored, with(kind))
		all["server-tunnel6-"+string(kind)] = config(Server, stored, with(kind), tunnel6)
		all["server-off6-"+string(kind)] = config(Server, stored, with(kind), off6)
	}
	return all
}

// What Apply makes is the golden state, and Undo takes all of it back.
func TestApplyUndo(t *testing.T) {
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on(t, newHost(t), func() {
				outside := snapshot(t)
				dev := openTun(t, cfg.Interface)
				before := snapshot(t)
				applied, err := Apply(t.Context(), planFor(t, cfg), discard)
				must(t, err)
				golden(t, "state/"+name+".txt", added(before, snapshot(t)))

				must(t, applied.Undo())
				same(t, "after Undo", before, snapshot(t))
				must(t, applied.Undo()) // again, to no effect
				closeTun(t, dev, cfg.Interface)
				same(t, "without the interface", outside, snapshot(t))
				if _, err := os.Stat(cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("state directory: %v, want it gone", err)
				}
			})
		})
	}
}

// The printed plan, typed into a shell, makes the very state that Apply makes.
func TestPlanIsWhatOneTypes(t *testing.T) {
	netlabtest.Need(t, "ip", "nft", "sysctl", "sh")
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var applied, typed string
			on(t, newHost(t), func() {
				dev, a := up(t, cfg)
				defer dev.Close()
				applied = snapshot(t)
				must(t, a.Undo())
			})
			on(t, newHost(t), func() {
				dev := openTun(t, cfg.Interface)
				defer dev.Close()
				cmd := exec.Command("sh", "-e", "-c", planFor(t, cfg).String())
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				typed = snapshot(t)
			})
			same(t, "applied, and typed", applied, typed)
		})
	}
}

// failing is an action that fails without doing anything.
type failing struct{ Action }

var errInjected = errors.New("injected failure")

func (failing) do() (func() error, error) { return nil, errInjected }

// cancelling is an action that is done, while ctx is cancelled.
type cancelling struct {
	Action
	cancel context.CancelCauseFunc
}

func (c cancelling) do() (func() error, error) {
	c.cancel(errInjected)
	return c.Action.(performer).do()
}

// A failure at any step, and a signal at any step, leave the host as it was.
func TestFailureAtEveryStep(t *testing.T) {
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on(t, newHost(t), func() {
				dev := openTun(t, cfg.Interface)
				defer dev.Close()
				before := snapshot(t)
				for i, step := range planFor(t, cfg).Steps {
					plan := planFor(t, cfg)
					plan.Steps[i] = Step{Action: failing{step}}
					_, err := Apply(t.Context(), plan, discard)
					var op *OpError
					if !errors.As(err, &op) || !errors.Is(err, errInjected) || op.Object != step.Object() {
						t.Errorf("step %d: error %v, want the injected one, naming %q", i, err, step.Object())
					}
					same(t, fmt.Sprintf("failure at step %d (%s)", i, step), before, snapshot(t))

					ctx, cancel := context.WithCancelCause(t.Context())
					plan.Steps[i] = Step{Action: cancelling{step.Action, cancel}}
					applied, err := Apply(ctx, plan, discard)
					if last := i == len(plan.Steps)-1; last && err == nil {
						must(t, applied.Undo()) // the caller sees that ctx is done
					} else if !errors.Is(err, errInjected) {
						t.Errorf("cancelled at step %d: error %v, want the cause", i, err)
					}
					same(t, fmt.Sprintf("cancelled at step %d (%s)", i, step), before, snapshot(t))
				}
			})
		})
	}
}

// An optional step that fails is skipped, and the rest works.
func TestOptionalStepFails(t *testing.T) {
	on(t, newHost(t), func() {
		cfg := config(Client, func(c *Config) { c.Congestion = "nonesuch" })
		outside := snapshot(t)
		dev, applied := up(t, cfg)
		if got := added(outside, snapshot(t)); strings.Contains(got, "congestion") || !strings.Contains(got, "42069") {
			t.Errorf("state with an unknown congestion control:\n%s", got)
		}
		must(t, applied.Undo())
		closeTun(t, dev, cfg.Interface)
		same(t, "after Undo", outside, snapshot(t))
	})
}

// Whatever of ours somebody removes, Undo is content and takes the rest.
func TestUndoWhatIsGone(t *testing.T) {
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on(t, newHost(t), func() {
				outside := snapshot(t)
				dev, applied := up(t, cfg)
				for _, u := range applied.done {
					if err := u.do(); err != nil && !gone(err) {
						t.Errorf("remove by hand: %v: %v", u.action, err)
					}
				}
				closeTun(t, dev, cfg.Interface) // and the interface, too
				must(t, applied.Undo())
				same(t, "after Undo", outside, snapshot(t))
			})
		})
	}
}

// foreignRules are rules of another program that equal ours in all but the
// protocol, at the same priorities.
func foreignRules(t *testing.T) {
	t.Helper()
	for _, af := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, r := range []link.Rule{
			{Priority: DefaultRulePriority, Table: link.TableMain, SuppressDefault: true},
			{Priority: DefaultRulePriority + 1, Table: DefaultTable, NotMark: DefaultMark},
		} {
			rule := netlink.NewRule()
			rule.Family, rule.Priority, rule.Table = af, r.Priority, r.Table
			rule.Protocol = unix.RTPROT_STATIC
			if r.SuppressDefault {
				rule.SuppressPrefixlen = 0
			} else {
				rule.Mark, rule.Invert = r.NotMark, true
			}
			must(t, netlink.RuleAdd(rule))
		}
	}
}

// A killed process leaves a client closed; a cleanup opens it again and
// removes exactly what is ours.
func TestSweepAfterKill(t *testing.T) {
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on(t, newHost(t), func() {
				foreignRules(t)
				outside := snapshot(t)
				dev, _ := up(t, cfg)
				removed, err := Sweep("", Plan{}, cfg.StateDir)
				if err != nil || len(removed) > 0 {
					t.Errorf("sweep removed %q of a tunnel that is up, error %v", removed, err)
				}
				closeTun(t, dev, cfg.Interface)

				removed, err = Sweep("", Plan{}, cfg.StateDir)
				must(t, err)
				same(t, "after the sweep", outside, snapshot(t))
				if len(removed) == 0 && !cfg.PointToPoint {
					t.Error("sweep does not say what it removed")
				}
			})
		})
	}
}

// A start after a kill makes the same state as a first start, and at no moment
// lets go of what keeps the host closed.
func TestStartAfterKill(t *testing.T) {
	for name, cfg := range ways(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on(t, newHost(t), func() {
				foreignRules(t)
				outside := snapshot(t)
				dev, _ := up(t, cfg)
				first := snapshot(t)
				closeTun(t, dev, cfg.Interface)
				closed := snapshot(t)

				plan := planFor(t, cfg)
				dev = openTun(t, cfg.Interface)
				_, err := Sweep(cfg.Interface, plan, cfg.StateDir)
				must(t, err)
				for line := range strings.Lines(added(outside, closed)) {
					if strings.HasPrefix(line, "rule") && !strings.Contains(snapshot(t), line) {
						t.Errorf("the sweep before a start removed %s", line)
					}
				}
				applied, err := Apply(t.Context(), plan, discard)
				must(t, err)
				same(t, "first and second start", first, snapshot(t))

				must(t, applied.Undo())
				closeTun(t, dev, cfg.Interface)
				same(t, "after Undo", outside, snapshot(t))
			})
		})
	}
}

// A tunnel that is up keeps all it needs while another on the same host is
// killed, cleaned up after and stopped.
func TestTwoTunnels(t *testing.T) {
	for _, kind := range []FirewallKind{FirewallNFT, iptablesNFT, iptablesLegacy} {
		for _, killed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/killed=%v", kind, killed), func(t *testing.T) {
				t.Parallel()
				on(t, newHost(t), func() { twoTunnels(t, kind, killed) })
			})
		}
	}
}

func twoTunnels(t *testing.T, kind FirewallKind, killed bool) {
	state := t.TempDir() + "/state"
	a := config(Client, with(kind), func(c *Config) { c.StateDir = state })
	b := config(Server, with(kind), func(c *Config) {
		c.StateDir, c.Interface = state, "tun1"
		c.Local, c.Remote = netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")
		c.Prefix6 = netip.MustParsePrefix("fd00:9::/96")
	})
	outside := snapshot(t)
	devA, appliedA := up(t, a)
	alone := snapshot(t)
	devB, appliedB := up(t, b)
	if !killed {
		must(t, appliedB.Undo())
	}
	closeTun(t, devB, b.Interface)
	_, err := Sweep("", Plan{}, state)
	must(t, err)
	same(t, "the client, after the server has gone", alone, snapshot(t))
	must(t, appliedA.Undo())
	closeTun(t, devA, a.Interface)
	same(t, "after both", outside, snapshot(t))
}

// The kernel must see the same rules as a person who lists them.
func TestNFTOwnsOnlyItsOwn(t *testing.T) {
	netlabtest.Need(t, "nft")
	on(t, newHost(t), func() {
		// Looks like ours by its name, but has a rule without our comment.
		out, err := exec.Command("nft", "add table inet dsvpn-tun5; add chain inet dsvpn-tun5 c; add rule inet dsvpn-tun5 c counter").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		before := snapshot(t)
		_, err = Sweep("", Plan{}, "")
		must(t, err)
		same(t, "a table of somebody else", before, snapshot(t))

		odd := "a b#:é"
		policy := planFor(t, config(Client)).Steps[1].Action.(InstallFirewall).Policy
		policy.Interface = odd
		must(t, nft.Firewall{}.Install(policy))
		owned, err := nft.Firewall{}.Owned()
		must(t, err)
		if len(owned) != 1 || owned[0] != odd {
			t.Errorf("owned interfaces %q, want %q", owned, odd)
		}
		must(t, nft.Firewall{}.Remove(odd))
		same(t, "an odd name", before, snapshot(t))
	})
}
