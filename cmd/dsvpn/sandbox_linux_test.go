package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dsvpn/netcfg"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// Capabilities as bits of the masks in /proc.
const (
	netAdmin, netRaw = 1 << 12, 1 << 13
	everything       = -1 // all that this test has
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
var _ = context.Background
var _ = slog.Info
var _ net.Conn
var _ netcfg.Needs
var _ = slices.Contains[[]int]
