package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

	"dsvpn/netcfg"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// Capabilities as bits of the masks in /proc.
const (
	netAdmin, netRaw = 1 << 12, 1 << 13
)

// privileges are those of one thread, as the kernel tells them.
type privileges struct {
	Permitted, Effective, Inheritable, Ambient, Bounding int64
	NoNewPrivs                                           bool
}

// privilegesOf tells those of all threads of a process, which must agree.
func privilegesOf(pid int) (privileges, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		return privileges{}, errors.Join(err, os.ErrNotExist)
	}
	var all []privileges
	for _, file := range files {
		status, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return privileges{}, err
		}
		all = append(all, parsePrivileges(string(status)))
	}
	for _, other := range all {
		if other != all[0] {
			return privileges{}, fmt.Errorf("threads differ: %+v, %+v", all[0], other)
		}
	}
	return all[0], nil
}

func parsePrivileges(status string) (p privileges) {
	sets := map[string]*int64{"CapPrm": &p.Permitted, "CapEff": &p.Effective, "CapInh": &p.Inheritable,
		"CapAmb": &p.Ambient, "CapBnd": &p.Bounding}
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if set := sets[name]; set != nil {
			*set, _ = strconv.ParseInt(value, 16, 64)
		}
		if name == "NoNewPrivs" {
			p.NoNewPrivs = value == "1"
		}
	}
	return p
}

// wantPrivileges waits until a program says that it is done with giving up what
// it does not need, and fails the test unless all its threads have just this.
func wantPrivileges(t *testing.T, p *process, want privileges) {
	t.Helper()
	check(t, p.await("confined", startTimeout))
	got, err := privilegesOf(p.cmd.Process.Pid)
	check(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("privileges of the %s (-want +got):\n%s\n%s", p.cmd.Args[1], diff, p.log.String())
	}
}

// confined is what is left to a program of root when it is up.
func confined(kept int64) privileges {
	return privileges{Permitted: kept, Effective: netAdmin, Bounding: kept, NoNewPrivs: true}
}

// shipped makes a trial of the program as it is shipped, where the runtime
// reaches all threads in another way than in a test binary with C in it.
func shipped(t *testing.T) *trial {
	t.Helper()
	tr := newTestTrial(t)
	tr.exe = buildProgram(t)
	return tr
}

// A program that is up has CAP_NET_ADMIN and nothing more, in all threads, and
// CAP_NET_RAW for children that are iptables; or all that it had.
func TestPrivileges(t *testing.T) {
	for name, newTrial := range map[string]func(*testing.T) *trial{
		"shipped": shipped,
		"test":    func(t *testing.T) *trial { return newTestTrial(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrial(t)
			own, err := privilegesOf(os.Getpid())
			check(t, err)
			wantHostsUnchanged(t, tr)
			server := startServer(t, tr)
			wantPrivileges(t, server, confined(netAdmin|netRaw))
			client := startClient(t, tr)
			wantPrivileges(t, client, confined(netAdmin))
			check(t, client.stop(syscall.SIGTERM))
			client = startClient(t, tr, "--firewall=iptables")
			wantPrivileges(t, client, confined(netAdmin|netRaw))
			check(t, client.stop(syscall.SIGTERM))
			wantPrivileges(t, startClient(t, tr, "--sandbox=off"), own)
		})
	}
}

// What the program needs it can still do when it has given up all the rest: see
// what happens to the host and put it right, connect anew with a marked socket,
// and put the host back.
func TestConfinedProgramDoesItsWork(t *testing.T) {
	netlabtest.Need(t, "ip", "iptables", "ip6tables")
	for _, firewall := range []string{"nft", "iptables-nft", "iptables-legacy"} {
		t.Run(firewall, func(t *testing.T) {
			t.Parallel()
			tr := shipped(t)
			flag := "--firewall=nft"
			if firewall != "nft" {
				useIptables(t, tr, firewall)
				flag = "--firewall=iptables"
			}
			wantHostsUnchanged(t, tr)
			wantWorks(t, tr, flag)
		})
	}
}

// wantWorks starts both ends with a kill switch and takes them through what
// happens in a long life.
func wantWorks(t *testing.T, tr *trial, flag string) {
	t.Helper()
	serveCaller(t, tr, tr.internet, "")
	server := startServer(t, tr, flag)
	client := startClient(t, tr, flag, "--kill-switch")
	for _, p := range []*process{server, client} {
		check(t, p.await(" confined", startTimeout))
	}
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	for h, command := range map[*netlab.Host]string{
		tr.client: "ip rule del priority 31001 protocol 69",
		tr.server: map[bool]string{true: "nft flush ruleset", false: "iptables -w -t nat -F"}[flag == "--firewall=nft"],
	} {
		want := state(t, h)
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = tr.env
		if out, err := h.CombinedOutput(cmd); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		eventually(t, "what "+command+" removes is put back", func() bool { return hasState(h, want) })
	}
	check(t, server.stop(syscall.SIGTERM))
	startServer(t, tr, flag)
	check(t, client.awaitNth(2, "Connected", patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
}

// nobody is a user without any right.
const nobody = 65534

// asNobody wraps a program so that it runs as another user who has the
// capabilities given, as by AmbientCapabilities in a unit of systemd, and whom
// /dev/net/tun is open to. The process keeps its number.
func asNobody(t *testing.T, tr *trial, capabilities ...string) {
	t.Helper()
	netlabtest.Need(t, "unshare", "mount", "mknod", "setpriv", "sh")
	dir, err := os.MkdirTemp("", "dsvpn-nobody-") // where others may go
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	exe := filepath.Join(dir, "dsvpn-shipped")
	check(t, errors.Join(os.Chmod(dir, 0o755), exec.Command("cp", tr.exe, exe).Run(),
		os.Chown(tr.dir, nobody, nobody), os.Chown(tr.key(), nobody, nobody)))
	caps := "-all,+" + strings.Join(capabilities, ",+")
	tr.exe = filepath.Join(dir, "dsvpn")
	check(t, os.WriteFile(tr.exe, fmt.Appendf(nil, `#!/bin/sh
exec unshare -m sh -c 'mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 &&
exec setpriv --reuid %[1]d --regid %[1]d --clear-groups --inh-caps %[2]s --ambient-caps %[2]s "$0" "$@"' %[3]s "$@"
`, nobody, caps, exe), 0o755))
}

// Both ends can do all that they do as another user with CAP_NET_ADMIN.
func TestRunsAsAnotherUser(t *testing.T) {
	for _, firewall := range []string{"nft", "iptables-nft"} { // legacy iptables wants to lock a file of root's
		t.Run(firewall, func(t *testing.T) {
			t.Parallel()
			tr := shipped(t)
			asNobody(t, tr, "net_admin", "net_bind_service")
			flag := "--firewall=nft"
			if firewall != "nft" {
				useIptables(t, tr, firewall)
				flag = "--firewall=iptables"
			}
			wantHostsUnchanged(t, tr)
			wantWorks(t, tr, flag)
		})
	}
}

// A process of the same user can look into the memory of the program only with
// --sandbox off, and only root into its environment, which may have the key.
// The program says what it cannot do without root.
func TestMemoryIsKeptFromOthers(t *testing.T) {
	t.Parallel()
	tr := shipped(t)
	asNobody(t, tr, "net_admin", "net_bind_service")
	for flag, hidden := range map[string]bool{"--sandbox=auto": true, "--sandbox=off": false} {
		server := startServer(t, tr, flag)
		proc := fmt.Sprintf("/proc/%d/", server.cmd.Process.Pid)
		info, err := os.Stat(proc + "environ")
		check(t, err)
		if owner := info.Sys().(*syscall.Stat_t).Uid; (owner == 0) != hidden {
			t.Errorf("%s: the environment belongs to %d", flag, owner)
		}
		for _, file := range []string{"environ", "mem", "maps"} {
			peek := exec.Command("setpriv", "--reuid", fmt.Sprint(nobody), "--regid", fmt.Sprint(nobody), "--clear-groups",
				"--inh-caps=-all,+net_admin,+net_bind_service", "--ambient-caps=+net_admin,+net_bind_service", // no less than the program
				"dd", "count=0", "if="+proc+file)
			if out, err := peek.CombinedOutput(); (err != nil) != hidden {
				t.Errorf("%s: another process opens %s: %v %s", flag, file, err, out)
			}
		}
		limits, err := os.ReadFile(proc + "limits")
		check(t, err)
		if none := regexp.MustCompile(`(?m)^Max core file size +0 +0 `).Match(limits); hidden && !none {
			t.Errorf("%s: core dumps may have a size:\n%s", flag, limits)
		}
		if !server.log.contains("former values of sysctls would be lost with a kill") {
			t.Errorf("%s: it does not say what is not kept:\n%s", flag, server.log.String())
		}
		check(t, server.stop(syscall.SIGTERM))
	}
}

// tryConfined is a program that confines itself as a client or a server would,
// tries things, and prints for each whether it may do it:
//
//	dsvpn-try-confined nothing|iptables|hooks STATEDIR OTHERDIR
func tryConfined() {
	state, other := os.Args[2], os.Args[3]
	needs := netcfg.Needs{StateDir: state, Writes: []string{"/proc/sys/net"},
		Iptables: os.Args[1] == "iptables", Hooks: os.Args[1] == "hooks"}
	p := &program{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	o := options{Sandbox: sandboxAuto}
	check := func(what string, err error) {
		switch {
		case errors.Is(err, os.ErrPermission):
			fmt.Println(what, "no")
		case err == nil:
			fmt.Println(what, "yes")
		default:
			fmt.Println(what, err)
		}
	}
	write := func(path string) error { return os.WriteFile(path, []byte("1"), 0o600) }
	p.harden(o)
	p.dropCapabilities(o, needs)
	p.restrict(context.Background(), o, needs)

	_, err := os.ReadFile("/etc/resolv.conf")
	check("read /etc/resolv.conf", err)
	_, err = os.ReadFile("/proc/thread-self/net/route")
	check("read /proc/thread-self/net", err)
	_, err = os.ReadFile(other + "/file")
	check("read elsewhere", err)
	check("write elsewhere", write(other+"/new"))
	check("write to /etc", write("/etc/dsvpn-test"))
	check("write to the state", write(state+"/file"))
	check("set a sysctl", write("/proc/sys/net/ipv4/ip_forward"))
	check("remove the state", errors.Join(os.Remove(state+"/file"), os.Remove(state)))
	out, err := exec.Command("/bin/cat", "/proc/self/status").Output()
	check("execute", err)
	if err == nil {
		fmt.Printf("child may do %x\n", parsePrivileges(string(out)).Effective)
	}
}

func init() { programs["dsvpn-try-confined"] = tryConfined }

// A confined program reaches what it needs and nothing else.
func TestConfinedAccess(t *testing.T) {
	if _, err := ll.LandlockGetABIVersion(); err != nil {
		netlabtest.Skip(t, "Landlock: "+err.Error())
	}
	own, err := privilegesOf(os.Getpid())
	check(t, err)
	h := netlabtest.Host(t, netlabtest.New(t), "host")
	exe, err := exec.LookPath("dsvpn-try-confined")
	check(t, err)
	answers := func(elsewhere, execute string) string {
		return "read /etc/resolv.conf yes\nread /proc/thread-self/net yes\nread elsewhere " + elsewhere +
			"\nwrite elsewhere " + elsewhere + "\nwrite to /etc " + elsewhere +
			"\nwrite to the state yes\nset a sysctl yes\nremove the state yes\nexecute " + execute + "\n"
	}
	child := func(may int64) string { return fmt.Sprintf("child may do %x\n", may) }
	for needs, want := range map[string]string{
		"nothing":  answers("no", "no"),
		"iptables": answers("no", "yes") + child(netAdmin|netRaw),
		"hooks":    answers("yes", "yes") + child(own.Effective),
	} {
		t.Run(needs, func(t *testing.T) {
			state, other := filepath.Join(t.TempDir(), "state"), t.TempDir()
			check(t, errors.Join(os.Mkdir(state, 0o755), os.WriteFile(filepath.Join(other, "file"), nil, 0o600)))
			e := newEtc(t, "file")
			cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /etc && exec "$@"`, e.dir,
				exe, needs, state, other)
			var log strings.Builder
			cmd.Stderr = &log
			out, err := h.Output(cmd)
			check(t, err)
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(out), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s\n%s", diff, log.String())
			}
		})
	}
}
