//go:build linux

package netlab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prefixes(all ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range all {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// routed builds
//
//	a 10.0.1.1 --- 10.0.1.254 r 10.0.2.254 --- 10.0.2.1 b
//	  fd00:1::1    fd00:1::fe   fd00:2::fe     fd00:2::1
func routed(t testing.TB, opts ...netlab.CableOption) (a, r, b *netlab.Host) {
	t.Helper()
	lab := netlabtest.New(t)
	a, r, b = netlabtest.Host(t, lab, "a"), netlabtest.Host(t, lab, "r"), netlabtest.Host(t, lab, "b")
	check(t, lab.Cable(
		netlab.End{Host: a, Interface: "eth0", Addrs: prefixes("10.0.1.1/24", "fd00:1::1/64")},
		netlab.End{Host: r, Interface: "eth0", Addrs: prefixes("10.0.1.254/24", "fd00:1::fe/64")}, opts...))
	check(t, lab.Cable(
		netlab.End{Host: r, Interface: "eth1", Addrs: prefixes("10.0.2.254/24", "fd00:2::fe/64")},
		netlab.End{Host: b, Interface: "eth0", Addrs: prefixes("10.0.2.1/24", "fd00:2::1/64")}, opts...))
	check(t, r.SetSysctl("net.ipv4.ip_forward", "1"))
	check(t, r.SetSysctl("net.ipv6.conf.all.forwarding", "1"))
	check(t, a.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("10.0.1.254")))
	check(t, a.AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr("fd00:1::fe")))
	check(t, b.AddRoute(netip.MustParsePrefix("10.0.1.0/24"), netip.MustParseAddr("10.0.2.254")))
	check(t, b.AddRoute(netip.MustParsePrefix("fd00:1::/64"), netip.MustParseAddr("fd00:2::fe")))
	return a, r, b
}

func TestTCPThroughRouter(t *testing.T) {
	t.Parallel()
	a, _, b := routed(t, netlab.MTU(9000))
	for _, address := range []string{"10.0.2.1:80", "[fd00:2::1]:80"} {
		l, err := b.Listen("tcp", address)
		check(t, err)
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "hello")
			c.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		c, err := a.Dial(ctx, "tcp", address)
		check(t, err)
		defer c.Close()
		got, err := io.ReadAll(c)
		check(t, err)
		if string(got) != "hello" {
			t.Errorf("read %q from %s", got, address)
		}
	}
}

func TestDatagram(t *testing.T) {
	t.Parallel()
	a, _, b := routed(t)
	server, err := b.ListenPacket("udp", "10.0.2.1:53")
	check(t, err)
	defer server.Close()
	c, err := a.Dial(t.Context(), "udp", "10.0.2.1:53")
	check(t, err)
	defer c.Close()
	_, err = io.WriteString(c, "question")
	check(t, err)
	check(t, server.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 100)
	n, _, err := server.ReadFrom(buf)
	check(t, err)
	if string(buf[:n]) != "question" {
		t.Errorf("read %q", buf[:n])
	}
}

// A shaped link is no faster than it may be, however much the sender has; and
// when the limit is taken away, none is left that could be.
func TestShape(t *testing.T) {
	t.Parallel()
	a, _, b := routed(t)
	const rate, size = 40e6, 1 << 20 // 0.2 s
	check(t, a.Shape("eth0", 8e6))
	check(t, a.Shape("eth0", rate)) // in place of the former
	l, err := b.Listen("tcp", "10.0.2.1:80")
	check(t, err)
	defer l.Close()
	received := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.CopyN(io.Discard, c, size)
			c.Close()
		}
		received <- err
	}()
	begin := time.Now()
	c, err := a.Dial(t.Context(), "tcp", "10.0.2.1:80")
	check(t, err)
	defer c.Close()
	_, err = c.Write(make([]byte, size))
	check(t, err)
	check(t, <-received)
	const burst = 10 * 1514
	least := time.Duration(float64(size-burst) * 8 / rate * float64(time.Second))
	if took := time.Since(begin); took < least {
		t.Errorf("%d bytes went through a link of %.0f b/s in %v, which takes %v", size, rate, took, least)
	}
	check(t, a.Unshape("eth0"))
	if err := a.Unshape("eth0"); err == nil {
		t.Error("Unshape has left a limit behind")
	}
}

// A child sees the interfaces of its host, and Path leads to the same place.
func TestCommand(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	h, other := netlabtest.Host(t, lab, "h"), netlabtest.Host(t, lab, "other")
	check(t, lab.Cable(netlab.End{Host: h, Interface: "left"}, netlab.End{Host: other, Interface: "right"}))
	out, err := h.Command(t.Context(), "cat", "/proc/net/dev").Output()
	check(t, err)
	if got := string(out); !strings.Contains(got, "left:") || strings.Contains(got, "right:") || strings.Contains(got, "eth") {
		t.Errorf("the child sees\n%s", got)
	}
	ns, err := h.Command(t.Context(), "readlink", "/proc/self/ns/net").CombinedOutput()
	check(t, err)
	want, err := os.Readlink(h.Path())
	check(t, err)
	if got := strings.TrimSpace(string(ns)); got != want {
		t.Errorf("the child is in %s, Path is %s", got, want)
	}
	_, err = h.Output(exec.Command("sh", "-c", "echo why >&2; exit 3"))
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 || string(exit.Stderr) != "why\n" {
		t.Errorf("a failing command returns %v", err)
	}
}

func TestSnapshotShowsEveryChange(t *testing.T) {
	t.Parallel()
	a, r, _ := routed(t)
	do := func(fn func() error) func() error { return func() error { return r.Do(fn) } }
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Mark, rule.Invert = 31000, 42069, 42069, true
	anywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	route := &netlink.Route{Dst: anywhere, Table: 42069, Type: 7, Priority: 4096, Family: netlink.FAMILY_V4}
	table := &nftables.Table{Name: "t", Family: nftables.TableFamilyINet}
	tests := []struct {
		name, want string
		do, undo   func() error
	}{
		{"address", "address 192.0.2.1/32 dev eth0 scope universe",
			func() error { return r.AddAddr("eth0", prefixes("192.0.2.1/32")[0]) },
			func() error { return r.DelAddr("eth0", prefixes("192.0.2.1/32")[0]) }},
		{"route", "route ip table 254 unicast 192.0.2.0/24 dev eth0 Gw=10.0.1.1 Protocol=boot",
			func() error { return r.AddRoute(prefixes("192.0.2.0/24")[0], netip.MustParseAddr("10.0.1.1")) },
			func() error { return r.DelRoute(prefixes("192.0.2.0/24")[0], netip.MustParseAddr("10.0.1.1")) }},
		{"route in a table", "route ip table 42069 unreachable 0.0.0.0/0 dev none",
			do(func() error { return netlink.RouteAdd(route) }),
			do(func() error { return netlink.RouteDel(route) })},
		{"rule", "rule ip 31000 Table=42069 Mark=42069 Mask=4294967295 Invert=true",
			do(func() error { return netlink.RuleAdd(rule) }),
			do(func() error { return netlink.RuleDel(rule) })},
		{"sysctl", "sysctl net/ipv4/conf/eth0/rp_filter = 1",
			func() error { return r.SetSysctl("net.ipv4.conf.eth0.rp_filter", "1") },
			func() error { return r.SetSysctl("net.ipv4.conf.eth0.rp_filter", "0") }},
		{"nft table", "nft table inet t",
			do(func() error {
				c := &nftables.Conn{}
				c.AddTable(table)
				return c.Flush()
			}),
			do(func() error {
				c := &nftables.Conn{}
				c.DelTable(table)
				return c.Flush()
			})},
		{"link", "link lo type device mtu 1280 up",
			do(func() error { return setMTU("lo", 1280) }),
			do(func() error { return setMTU("lo", 65536) })},
	}
	netlabtest.Unchanged(t, r)
	netlabtest.Unchanged(t, a)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			netlabtest.Unchanged(t, r)
			before := netlabtest.Snapshot(t, r)
			check(t, tt.do())
			after := netlabtest.Snapshot(t, r)
			if before == after || !strings.Contains(after, tt.want) {
				t.Errorf("no line with %q in\n%s", tt.want, after)
			}
			check(t, tt.undo())
		})
	}
}

func setMTU(name string, mtu int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetMTU(link, mtu)
}

func TestSnapshotOfFilters(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "nft", "iptables-legacy")
	lab := netlabtest.New(t)
	h := netlabtest.Host(t, lab, "h")
	netlabtest.Unchanged(t, h)
	nft := h.Command(t.Context(), "nft", "-f", "-")
	nft.Stdin = strings.NewReader(`table inet t {
		set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
		counter c { }
		chain in { type filter hook input priority 10; policy drop; ip saddr @s counter accept comment "ours"; tcp dport { 22, 80 } limit rate 5/second accept; }
	}`)
	out, err := nft.CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %s", out)
	}
	for _, args := range [][]string{{"-t", "nat", "-nL"}, {"-t", "mangle", "-nL"}} {
		check(t, h.Command(t.Context(), "iptables-legacy", append(args, "-w")...).Run())
	}
	check(t, h.Command(t.Context(), "iptables-legacy", "-w", "-t", "mangle", "-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP").Run())
	text := netlabtest.Snapshot(t, h)
	t.Log(text[:strings.Index(text, "sysctl")])
	for _, want := range []string{
		"Name=in Table=… Hooknum=1 Priority=10 Type=filter Policy=0", "comment ", "ours", "limit{",
		"legacy table ip mangle\n", "-A INPUT -s 192.0.2.1/32 -j DROP\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the snapshot", want)
		}
	}
	if strings.Contains(text, "legacy table ip nat") {
		t.Error("a legacy table with nothing in it is shown")
	}
	check(t, h.Command(t.Context(), "nft", "flush", "ruleset").Run())
	check(t, h.Command(t.Context(), "iptables-legacy", "-w", "-t", "mangle", "-F").Run())
}

// Close ends children and their children, whether or not somebody waits for
// them, and leaves no thread of this process in a namespace.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	netlabtest.New(t) // may skip
	lab, err := netlab.New()
	check(t, err)
	a, b := netlabtest.Host(t, lab, "a"), netlabtest.Host(t, lab, "b")
	check(t, lab.Cable(netlab.End{Host: a, Interface: "e"}, netlab.End{Host: b, Interface: "e"}))
	ns, err := os.Readlink(a.Path())
	check(t, err)

	waited := exec.Command("sleep", "1000")
	check(t, a.Start(waited))
	ended := make(chan error, 1)
	go func() { ended <- waited.Wait() }()
	orphan := exec.Command("sh", "-c", "sleep 1000 & exec sleep 1000")
	check(t, b.Start(orphan))

	start := time.Now()
	check(t, lab.Close())
	t.Logf("closed after %v", time.Since(start))
	check(t, lab.Close())

	if err := <-ended; err == nil || err.Error() != "signal: killed" {
		t.Errorf("the child ended with %v", err)
	}
	if orphan.ProcessState == nil && orphan.Process.Signal(os.Interrupt) != os.ErrProcessDone {
		t.Error("a child is left")
	}
	tasks, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	check(t, err)
	for _, task := range tasks {
		if got, err := os.Readlink(task); err == nil && got == ns {
			t.Errorf("%s is still there", task)
		}
	}
	if err := a.Do(func() error { return nil }); !errors.Is(err, netlab.ErrClosed) {
		t.Errorf("Do after Close = %v", err)
	}
	if _, err := lab.Host("c"); !errors.Is(err, netlab.ErrClosed) {
		t.Errorf("Host after Close = %v", err)
	}
}

// The process stays in the namespace that it was started in, and so does
// every goroutine but the hosts' own.
func TestProcessStaysOutside(t *testing.T) {
	t.Parallel()
	lab := netlabtest.New(t)
	h := netlabtest.Host(t, lab, "h")
	main, err := os.Readlink("/proc/self/ns/net")
	check(t, err)
	for range 100 {
		done := make(chan string)
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ns, _ := os.Readlink("/proc/thread-self/ns/net")
			done <- ns
		}()
		if ns := <-done; ns != main {
			t.Fatalf("a goroutine runs in %s", ns)
		}
	}
	if ns, _ := os.Readlink(h.Path()); ns == main {
		t.Error("the host has no namespace of its own")
	}
	check(t, h.Do(func() error { // a call within a call does not wait for itself
		return h.AddAddr("lo", prefixes("192.0.2.1/32")[0])
	}))
}

// A function that ends the host's goroutine ends the host, and nobody waits
// for it for ever.
func TestFunctionEndsHost(t *testing.T) {
	t.Parallel()
	h := netlabtest.Host(t, netlabtest.New(t), "h")
	child := exec.Command("sleep", "1000")
	check(t, h.Start(child))
	err := h.Do(func() error {
		runtime.Goexit()
		return nil
	})
	if err == nil {
		t.Error("Do = nil")
	}
	if err := child.Wait(); err == nil {
		t.Error("the child lived on")
	}
	if err := h.Do(func() error { return nil }); !errors.Is(err, netlab.ErrClosed) {
		t.Errorf("Do afterwards = %v", err)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	_, r, _ := routed(b)
	for b.Loop() {
		netlabtest.Snapshot(b, r)
	}
}

func BenchmarkLab(b *testing.B) {
	netlabtest.New(b) // may skip
	for b.Loop() {
		lab, err := netlab.New()
		check(b, err)
		x, y := netlabtest.Host(b, lab, "x"), netlabtest.Host(b, lab, "y")
		check(b, lab.Cable(
			netlab.End{Host: x, Interface: "eth0", Addrs: prefixes("10.0.1.1/24")},
			netlab.End{Host: y, Interface: "eth0", Addrs: prefixes("10.0.1.2/24")}))
		check(b, lab.Close())
	}
}
