package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// resolveName is any program that resolves a name:
//
//	dsvpn-resolve NAME
func resolveName() {
	addrs, err := (&net.Resolver{PreferGo: true}).LookupNetIP(context.Background(), "ip4", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitError)
	}
	fmt.Println(addrs)
}

func init() { programs["dsvpn-resolve"] = resolveName }

// etc is a folder that programs on a host have as /etc, each in mounts of its
// own.
type etc struct {
	dir   string
	mount string // what is mounted as resolv.conf there; may be empty
}

// The name servers of the test below: the host's own, which is reached past the
// tunnel, and the one that --dns names, behind it.
const ownNameServer, tunnelNameServer = "192.0.2.53", internetIP

const ownConf = "# mine\nsearch lan\nnameserver " + ownNameServer + "\noptions timeout:1"

// newEtc makes a folder whose resolv.conf is of a kind.
func newEtc(t *testing.T, kind string) etc {
	t.Helper()
	netlabtest.Need(t, "unshare", "mount", "sh")
	e := etc{dir: t.TempDir()}
	conf := filepath.Join(e.dir, "resolv.conf")
	switch kind {
	case "file":
		check(t, os.WriteFile(conf, []byte(ownConf), 0o600))
	case "link":
		check(t, os.WriteFile(filepath.Join(e.dir, "made-by-somebody"), []byte(ownConf), 0o644))
		check(t, os.Symlink("made-by-somebody", conf))
	case "mount":
		e.mount = filepath.Join(t.TempDir(), "source")
		check(t, os.WriteFile(conf, nil, 0o644))
		check(t, os.WriteFile(e.mount, []byte(ownConf), 0o644))
	}
	return e
}

// program wraps a program so that it runs with the folder as its /etc.
func (e etc) program(t *testing.T, name string) string {
	t.Helper()
	exe, err := exec.LookPath(name)
	check(t, err)
	mount := fmt.Sprintf("mount --bind %q /etc", e.dir)
	if e.mount != "" {
		mount += fmt.Sprintf(" && mount --bind %q /etc/resolv.conf", e.mount)
	}
	wrapper := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(wrapper, fmt.Appendf(nil, "#!/bin/sh\nexec unshare -m sh -c '%s && exec \"$@\"' %q %q \"$@\"\n", mount, name, exe), 0o755))
	return wrapper
}

// state is all that is in the folder.
func (e etc) state(t *testing.T) (lines []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(e.dir, "*"))
	check(t, err)
	if e.mount != "" {
		paths = append(paths, e.mount)
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		check(t, err)
		target, _ := os.Readlink(path)
		content, err := os.ReadFile(path)
		check(t, err)
		lines = append(lines, fmt.Sprintf("%s %v %q %q", info.Name(), info.Mode(), target, content))
	}
	return lines
}

func (e etc) want(t *testing.T, what string, want []string) {
	t.Helper()
	if diff := cmp.Diff(want, e.state(t)); diff != "" {
		t.Errorf("%s: /etc differs (-want +got):\n%s", what, diff)
	}
}

// namedTrial is a trial with both name servers. The host's own knows the VPN's
// server, and is in no network of the client's.
func namedTrial(t *testing.T) (tr *trial, own, tunnel *nameServer) {
	t.Helper()
	tr = newTestTrial(t)
	check(t, tr.server.AddAddr("lo", netip.MustParsePrefix(ownNameServer+"/32")))
	own = newNameServer(t, tr.server, ownNameServer, netip.MustParseAddr(serverIP))
	tunnel = newNameServer(t, tr.internet, tunnelNameServer, netip.MustParseAddr("192.0.2.80"))
	return tr, own, tunnel
}

// With --dns, programs on the client's host ask through the tunnel, and the
// client asks for its server past it. In the end all is as it was, whether the
// client was stopped, or killed and cleaned up after.
func TestDNS(t *testing.T) {
	for _, kind := range []string{"file", "link", "mount"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tr, own, tunnel := namedTrial(t)
			e := newEtc(t, kind)
			before := e.state(t)
			wantHostsUnchanged(t, tr)
			server := startServer(t, tr)
			wrapped := *tr
			wrapped.exe = e.program(t, "dsvpn")
			start := func() *process {
				p, err := wrapped.start(tr.client, "Connected", "client", tr.key(), "server.example", "--dns", tunnelNameServer)
				return stopAtEnd(t, p, err)
			}
			client := start()
			wantName(t, tr.client, e, "192.0.2.80")
			if seen := tunnel.seen(); len(seen) != 1 || seen[0].String() != serverUplinkIP {
				t.Errorf("the name server behind the tunnel sees %v, want %s", seen, serverUplinkIP)
			}

			check(t, client.stop(syscall.SIGTERM))
			e.want(t, "after a stop", before)
			wantName(t, tr.client, e, serverIP)

			check(t, start().stop(syscall.SIGKILL))
			asked := own.count()
			client = start() // knows whom to ask although the former life has left its file
			if own.count() == asked {
				t.Error("after the kill, the client did not ask the host's own name server")
			}
			asked = own.count()
			check(t, server.stop(syscall.SIGKILL))
			startServer(t, tr)
			eventually(t, "the client asks for its server again", func() bool { return own.count() > asked })
			eventually(t, "it is connected again", func() bool { return strings.Count(client.log.String(), "Connected") == 2 })
			wantName(t, tr.client, e, "192.0.2.80")

			check(t, client.stop(syscall.SIGKILL))
			out, err := tr.client.CombinedOutput(exec.Command(wrapped.exe, "cleanup"))
			if err != nil || !strings.Contains(string(out), "resolv.conf") {
				t.Errorf("cleanup: %v, and it does not say what it put back:\n%s", err, out)
			}
			e.want(t, "after a kill and a cleanup", before)
			if seen := own.seen(); len(seen) != 1 || seen[0].String() != clientIP {
				t.Errorf("the host's own name server sees %v, want %s alone", seen, clientIP)
			}
		})
	}
}

// When somebody, such as a DHCP client on another network, writes a resolv.conf
// while the client is up, programs go on asking through the tunnel; what was
// written is there in the end.
func TestDNSFollowsNetwork(t *testing.T) {
	t.Parallel()
	tr, _, _ := namedTrial(t)
	e := newEtc(t, "file")
	startServer(t, tr)
	wrapped := *tr
	wrapped.exe = e.program(t, "dsvpn")
	client := startClient(t, &wrapped, "--dns", tunnelNameServer)
	conf := filepath.Join(e.dir, "resolv.conf")
	check(t, os.WriteFile(conf, []byte("nameserver 192.0.2.99\n"), 0o644))
	changed := e.state(t)[:1]
	check(t, tr.client.AddAddr("uplink", netip.MustParsePrefix("198.51.100.22/24")))
	eventually(t, "the client sets its name servers again", func() bool {
		content, err := os.ReadFile(conf)
		return err == nil && strings.Contains(string(content), "nameserver "+tunnelNameServer)
	})
	wantName(t, tr.client, e, "192.0.2.80")
	check(t, client.stop(syscall.SIGTERM))
	e.want(t, "in the end", changed)
}

// wantName fails the test unless a program on the host learns this address.
func wantName(t *testing.T, h *netlab.Host, e etc, want string) {
	t.Helper()
	out, err := h.CombinedOutput(exec.Command(e.program(t, "dsvpn-resolve"), "www.example."))
	if got := strings.TrimSpace(string(out)); err != nil || got != "["+want+"]" {
		t.Errorf("www.example is %s (%v), want %s", got, err, want)
	}
}

// A signal at any step leaves /etc as it was; after a kill a cleanup does.
func TestDNSSignalAtEveryStep(t *testing.T) {
	for kind, signals := range map[string][]syscall.Signal{"file": {syscall.SIGTERM, syscall.SIGKILL}, "mount": {syscall.SIGKILL}} {
		for _, signal := range signals {
			t.Run(fmt.Sprintf("%s/%v", kind, signal), func(t *testing.T) {
				t.Parallel()
				tr, _, _ := namedTrial(t)
				e := newEtc(t, kind)
				startServer(t, tr)
				before, host := e.state(t), state(t, tr.client)
				program, cleanup := e.program(t, "dsvpn-interrupted"), e.program(t, "dsvpn")
				changed := false
				for line := 1; ; line++ {
					cmd := exec.Command(program, fmt.Sprint(line), fmt.Sprint(int(signal)), "client", tr.key(), serverIP, "--dns", tunnelNameServer)
					out, err := tr.client.CombinedOutput(cmd)
					if signal == syscall.SIGKILL {
						changed = changed || !cmp.Equal(before, e.state(t))
						check(t, runOn(tr.client, cleanup, "cleanup"))
					} else if err != nil {
						t.Errorf("line %d: %v", line, err)
					}
					e.want(t, fmt.Sprintf("%v at line %d", signal, line), before)
					wantState(t, fmt.Sprintf("%v at line %d", signal, line), tr.client, host)
					if t.Failed() {
						t.Fatalf("%s", out)
					}
					if !strings.Contains(string(out), tripped) {
						wantManySteps(t, line, string(out))
						break
					}
				}
				if signal == syscall.SIGKILL && !changed {
					t.Error("no kill was at a moment when there was anything to put back")
				}
			})
		}
	}
}
