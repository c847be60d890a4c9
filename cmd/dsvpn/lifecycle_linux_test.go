package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// interrupted is the program, which sends itself a signal when it logs a line:
//
//	dsvpn-interrupted LINE SIGNAL ARGUMENT...
//
// It logs each step, up and down, so each line is another step. When it is up
// it sends itself SIGTERM, so that there are lines of the way down, too.
func interrupted() {
	line, err1 := strconv.Atoi(os.Args[1])
	signal, err2 := strconv.Atoi(os.Args[2])
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	p := &program{stdin: os.Stdin, stdout: os.Stdout, env: environment{},
		stderr: &tripwire{to: os.Stderr, line: line, signal: syscall.Signal(signal)}}
	os.Exit(p.run(context.Background(), append(os.Args[3:], "--log-level", "debug")))
}

func init() { programs["dsvpn-interrupted"] = interrupted }

// tripwire sends a signal to its own process when a certain line is written.
type tripwire struct {
	to     io.Writer
	line   int
	signal syscall.Signal

	mu sync.Mutex
	n  int
}

// tripped is what a tripped wire adds to the output.
const tripped = "(tripped)\n"

func (w *tripwire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to.Write(b)
	if w.n++; w.n == w.line {
		io.WriteString(w.to, tripped)
		syscall.Kill(os.Getpid(), w.signal)
		if w.signal == syscall.SIGKILL {
			select {}
		}
	}
	if text := string(b); strings.Contains(text, "Connected") || strings.Contains(text, "waiting for a client") {
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
	return len(b), nil
}

// run runs the program on a host to its end, with a signal at a line of its
// log. It reports whether it came to that line.
func (t *trial) run(h *netlab.Host, line int, signal syscall.Signal, args ...string) (reached bool, log string, err error) {
	exe, err := exec.LookPath("dsvpn-interrupted")
	if err != nil {
		return false, "", err
	}
	cmd := exec.Command(exe, append([]string{strconv.Itoa(line), strconv.Itoa(int(signal))}, args...)...)
	cmd.Env = t.env
	out, err := h.CombinedOutput(cmd)
	return strings.Contains(string(out), tripped), string(out), err
}

// state is a snapshot without what the kernel adds to an interface in its own
// time or by chance: link-local addresses, and routes that follow from IPv6
// addresses.
func state(t *testing.T, h *netlab.Host) []string {
	t.Helper()
	lines, err := tryState(h)
	check(t, err)
	return lines
}

// tryState is state where things may change while they are listed.
func tryState(h *netlab.Host) (lines []string, err error) {
	snapshot, err := h.Snapshot()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(snapshot) {
		if strings.Contains(line, " fe80:") || strings.HasPrefix(line, "route ip6") && strings.Contains(line, "Protocol=kernel") {
			continue
		}
		lines = append(lines, line)
	}
	return lines, nil
}

// hasState reports whether a host looks like this now.
func hasState(h *netlab.Host, want []string) bool {
	got, err := tryState(h)
	return err == nil && cmp.Equal(want, got)
}

func wantState(t *testing.T, what string, h *netlab.Host, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, state(t, h)); diff != "" {
		t.Errorf("%s: host %s differs (-want +got):\n%s", what, h.Name(), diff)
	}
}

// addForeignRules adds policy rules that equal those of a client in all but the
// protocol, as another VPN may have them.
func addForeignRules(h *netlab.Host) error {
	return h.Do(func() error {
		suppress, lookup := netlink.NewRule(), netlink.NewRule()
		suppress.Priority, suppress.Table, suppress.SuppressPrefixlen = netcfg.DefaultRulePriority, unix.RT_TABLE_MAIN, 0
		lookup.Priority, lookup.Table = netcfg.DefaultRulePriority+1, netcfg.DefaultTable
		lookup.Mark, lookup.Invert = netcfg.DefaultMark, true
		var errs []error
		for _, r := range []*netlink.Rule{suppress, lookup} {
			for _, r.Family = range []int{unix.AF_INET, unix.AF_INET6} {
				r.Protocol = unix.RTPROT_STATIC
				errs = append(errs, netlink.RuleAdd(r))
			}
		}
		return errors.Join(errs...)
	})
}

// ends are the two programs with some kinds of firewall, each with the host that
// it runs on, on trials where the other one, if it needs it, is up.
func ends(firewalls ...string) map[string]func(t *testing.T) (*trial, *netlab.Host, []string) {
	all := map[string]func(t *testing.T) (*trial, *netlab.Host, []string){}
	if testing.Short() { // as with the race detector, which makes every start slow
		firewalls = firewalls[:1]
	}
	for _, firewall := range firewalls {
		prepare := func(t *testing.T) (*trial, string) {
			tr := newTestTrial(t)
			if firewall == "nft" {
				return tr, "--firewall=nft"
			}
			useIptables(t, tr, firewall)
			return tr, "--firewall=iptables"
		}
		all["client/"+firewall] = func(t *testing.T) (*trial, *netlab.Host, []string) {
			tr, flag := prepare(t)
			startServer(t, tr)
			check(t, addForeignRules(tr.client))
			return tr, tr.client, []string{"client", tr.key(), serverIP, flag}
		}
		all["server/"+firewall] = func(t *testing.T) (*trial, *netlab.Host, []string) {
			tr, flag := prepare(t)
			return tr, tr.server, []string{"server", tr.key(), flag}
		}
	}
	return all
}

// useIptables makes a kind of iptables that which programs of a trial find
// under its plain name.
func useIptables(t *testing.T, tr *trial, kind string) {
	t.Helper()
	netlabtest.Need(t, kind, "ip6"+strings.TrimPrefix(kind, "ip"))
	bin := t.TempDir()
	for _, family := range []string{"ip", "ip6"} {
		path, err := exec.LookPath(family + strings.TrimPrefix(kind, "ip"))
		check(t, err)
		check(t, os.Symlink(path, filepath.Join(bin, family+"tables")))
	}
	tr.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
}

// A signal to stop, at whatever moment, ends in success and a host as it was.
func TestSignalAtEveryStep(t *testing.T) {
	for name, prepare := range ends("nft", "iptables-nft") {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			if signal != syscall.SIGTERM && !strings.HasSuffix(name, "/nft") {
				continue // the signals differ in nothing that depends on the firewall
			}
			t.Run(fmt.Sprintf("%s/%v", name, signal), func(t *testing.T) {
				t.Parallel()
				tr, host, args := prepare(t)
				before := state(t, host)
				for line := 1; ; line++ {
					reached, log, err := tr.run(host, line, signal, args...)
					// After its last word the program catches signals no more.
					if err != nil && !strings.Contains(log, "Done.") {
						t.Errorf("line %d: %v\n%s", line, err, log)
					}
					wantState(t, fmt.Sprintf("%v at line %d", signal, line), host, before)
					if t.Failed() {
						t.Fatal(log)
					}
					if !reached {
						wantManySteps(t, line, log)
						return
					}
				}
			})
		}
	}
}

// wantManySteps guards against a test of no steps.
func wantManySteps(t *testing.T, lines int, log string) {
	t.Helper()
	if up, down := strings.Count(log, " done "), strings.Count(log, " undone "); lines < 10 || up < 4 || down < 4 {
		t.Errorf("only %d lines, %d steps up and %d down:\n%s", lines, up, down, log)
	}
}

// A kill, at whatever moment, leaves nothing that a cleanup does not remove.
func TestKillAtEveryStepThenCleanup(t *testing.T) {
	for name, prepare := range ends("nft", "iptables-nft", "iptables-legacy") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, host, args := prepare(t)
			before := state(t, host)
			for line := 1; ; line++ {
				reached, log, _ := tr.run(host, line, syscall.SIGKILL, args...)
				// From the rule that takes everything until that is undone.
				const rule = `one step="ip rule add not fwmark`
				if strings.Contains(log, " d"+rule) && !strings.Contains(log, " und"+rule) {
					wantClosed(t, tr, internetIP)
				}
				check(t, runOn(host, tr.exe, "cleanup"))
				wantState(t, fmt.Sprintf("kill at line %d and cleanup", line), host, before)
				if t.Failed() {
					t.Fatal(log)
				}
				if !reached {
					wantManySteps(t, line, log)
					return
				}
			}
		})
	}
}

// A start after a kill, at whatever moment that was, leads to the same state as
// a first start: exactly one of everything.
func TestKillAtEveryStepThenStart(t *testing.T) {
	for name, prepare := range ends("nft", "iptables-nft") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr, host, args := prepare(t)
			until := map[string]string{"client": "Connected", "server": "waiting for a client"}[args[0]]
			before := state(t, host)
			up := func() *process {
				p, err := tr.start(host, until, args...)
				check(t, err)
				return p
			}
			first := up()
			want := state(t, host)
			check(t, first.stop(syscall.SIGTERM))
			for line := 1; ; line++ {
				reached, log, _ := tr.run(host, line, syscall.SIGKILL, args...)
				again := up()
				wantState(t, fmt.Sprintf("kill at line %d and start", line), host, want)
				check(t, again.stop(syscall.SIGTERM))
				wantState(t, fmt.Sprintf("kill at line %d, start and stop", line), host, before)
				if t.Failed() {
					t.Fatal(log)
				}
				if !reached {
					return
				}
			}
		})
	}
}

// A client that is killed while it is up leaves its host closed, for IPv4 and
// IPv6, until a cleanup opens it or a new client takes over.
func TestKilledClientLeaksNothing(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	check(t, addForeignRules(tr.client))
	startServer(t, tr)
	// A server on the way that forwards for everybody: nothing but the client's
	// own host is there to stop a leak.
	check(t, tr.server.SetSysctl("net.ipv6.conf.all.forwarding", "1"))
	before := state(t, tr.client)
	client, err := tr.startClient()
	check(t, err)
	check(t, client.stop(syscall.SIGKILL))
	wantClosed(t, tr, internetIP, serverUplinkIP, internetIP6)
	out, err := tr.client.CombinedOutput(exec.Command(tr.exe, "cleanup"))
	if err != nil || !strings.Contains(string(out), "42069") {
		t.Errorf("cleanup: %v, and it does not say what it removed:\n%s", err, out)
	}
	wantState(t, "kill and cleanup", tr.client, before)
}

// wantClosed fails the test unless the client's host refuses at once to connect
// to these addresses.
func wantClosed(t *testing.T, tr *trial, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := tr.client.Dial(ctx, "tcp", net.JoinHostPort(address, "9"))
		cancel()
		if !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("connect to %s after the client was killed: %v, want it refused: %v", address, err, syscall.EHOSTUNREACH)
		}
	}
}

// A client that has been up once and then dies again and again, at whatever
// moment, and is started again each time, lets nothing out in the clear.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	const kills, longest = 100, 60 * time.Millisecond
	tr := newTestTrial(t)
	startServer(t, tr)
	before := state(t, tr.client)
	first, err := tr.startClient()
	check(t, err)
	want := state(t, tr.client)
	c := newCapture(t, tr.server, "access")
	check(t, first.stop(syscall.SIGKILL))

	stopLeak := leaky(t, tr.client, clientIP, internetIP)
	random := rand.New(rand.NewPCG(1, 2))
	for range kills {
		cmd := exec.Command(tr.exe, "client", tr.key(), serverIP)
		check(t, tr.client.Start(cmd))
		time.Sleep(time.Duration(random.Int64N(int64(longest)))) // the moment of the kill
		check(t, cmd.Process.Kill())
		cmd.Wait()
	}
	stopLeak()
	wantNoLeak(t, c.upTo(t, tr.client, serverIP))

	last, err := tr.startClient()
	check(t, err)
	wantState(t, "start after kills", tr.client, want)
	check(t, last.stop(syscall.SIGKILL))
	check(t, runOn(tr.client, tr.exe, "cleanup"))
	wantState(t, "cleanup after kills", tr.client, before)
}

// runOn runs a command on a host.
func runOn(h *netlab.Host, name string, args ...string) error {
	out, err := h.CombinedOutput(exec.Command(name, args...))
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

// What somebody deletes while the program is up is put back. An interface that
// is gone ends it.
func TestThingsRemovedByHand(t *testing.T) {
	netlabtest.Need(t, "ip", "iptables", "nft")
	for _, command := range []string{"iptables -w -F FORWARD", "iptables -w -t nat -F", "iptables -w -t raw -F PREROUTING"} {
		t.Run("server "+command, func(t *testing.T) {
			t.Parallel()
			tr := newTunnel(t, "--firewall=iptables")
			want := state(t, tr.server)
			check(t, runOn(tr.server, "sh", "-c", command))
			eventually(t, "it is put back", func() bool { return hasState(tr.server, want) })
		})
	}
	for _, command := range []string{
		"nft delete table inet dsvpn-tun0", "nft flush ruleset", "nft flush table inet dsvpn-tun0",
		"ip rule del priority 31001 protocol 69", "ip -6 rule del priority 31000 protocol 69",
		"ip route flush table 42069", "ip -6 route flush table 42069",
		"ip addr flush dev tun0", "ip link set tun0 down",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			tr := newTunnel(t)
			want := state(t, tr.client)
			check(t, runOn(tr.client, "sh", "-c", command))
			eventually(t, "it is put back", func() bool { return hasState(tr.client, want) })
		})
	}
	for _, end := range []string{"client", "server"} {
		t.Run("interface of the "+end, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			wantHostsUnchanged(t, tr)
			processes := map[string]*process{"server": startServer(t, tr), "client": startClient(t, tr)}
			host := map[string]*netlab.Host{"server": tr.server, "client": tr.client}[end]
			check(t, host.DelLink("tun0"))
			p := processes[end]
			check(t, p.await("Done.", startTimeout))
			<-p.done
			if exit, ok := errors.AsType[*exec.ExitError](p.err); !ok || exit.ExitCode() != exitError {
				t.Errorf("ended with %v, want exit code %d", p.err, exitError)
			}
			if !p.log.contains("tun0 was removed") {
				t.Errorf("the log does not name the reason:\n%s", p.log.String())
			}
		})
	}
}

// A dry run prints and changes nothing, not even for a moment that a snapshot
// could miss: the kernel announces no change of the host's network.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	for host, args := range map[*netlab.Host][]string{
		tr.client: {"client", tr.key(), serverIP},
		tr.server: {"server", tr.key()},
	} {
		before := state(t, host)
		var changes *nl.NetlinkSocket
		check(t, host.Do(func() (err error) {
			changes, err = nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR,
				unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
			return err
		}))
		defer changes.Close()
		out, err := host.Output(exec.Command(tr.exe, append(args, "--dry-run")...))
		if err != nil || !strings.Contains(string(out), "ip addr add 192.168.192.") {
			t.Errorf("dry run of the %s: %v\n%s", args[0], err, out)
		}
		wantState(t, "dry run", host, before)
		check(t, changes.SetReceiveTimeout(&unix.Timeval{Usec: 1})) // what there is is there by now
		if messages, _, err := changes.Receive(); err == nil {
			t.Errorf("the dry run of the %s changed something: %+v", args[0], messages)
		}
	}
}

// A second client on the same table gets an error that names the first, and
// changes nothing.
func TestSecondClient(t *testing.T) {
	t.Parallel()
	tr := newTunnel(t)
	before := state(t, tr.client)
	out, err := tr.client.CombinedOutput(exec.Command(tr.exe, "client", tr.key(), serverIP, "443", "tun1", "10.0.9.1", "10.0.9.2"))
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitError || !strings.Contains(string(out), "tun0") {
		t.Errorf("second client: %v, want an error that names tun0:\n%s", err, out)
	}
	wantState(t, "second client", tr.client, before)
}
