package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"dsvpn/netcfg/netlab"
	"dsvpn/session"
)

// trial is three hosts in network namespaces, with the program for the first
// two of them. Demo and tests stage their scenes on it.
//
//	client                  server                      internet
//	198.51.100.2 ---------- 198.51.100.1
//	2001:db8:1::2           2001:db8:1::1
//	              uplink    203.0.113.1 --------------- 203.0.113.2
//	                        2001:db8:2::1      uplink   2001:db8:2::2
//
// The server routes nothing until it is told to, and the internet host has no
// route to the client's network: what gets there from the client has gone
// through the tunnel and the server's masquerading.
type trial struct {
	lab                      *netlab.Lab
	client, server, internet *netlab.Host

	dir string   // has the key
	exe string   // the program
	env []string // its environment; nil: that of this process

	listeners []net.Listener
	processes []*process
}

// Addresses on the lab's cables, all of them for documentation (RFC 5737).
const (
	clientIP, serverIP         = "198.51.100.2", "198.51.100.1"
	serverUplinkIP, internetIP = "203.0.113.1", "203.0.113.2"
	internetIP6                = "2001:db8:2::2"
)

func newTrial(exe string) (*trial, error) {
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	t := &trial{lab: lab, exe: exe}
	if err := t.build(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

func (t *trial) build() (err error) {
	if t.dir, err = os.MkdirTemp("", "dsvpn-lab-"); err != nil {
		return err
	}
	for _, h := range []struct {
		name string
		host **netlab.Host
	}{{"client", &t.client}, {"server", &t.server}, {"internet", &t.internet}} {
		if *h.host, err = t.lab.Host(h.name); err != nil {
			return err
		}
	}
	end := func(h *netlab.Host, iface string, addrs ...string) netlab.End {
		e := netlab.End{Host: h, Interface: iface}
		for _, a := range addrs {
			e.Addrs = append(e.Addrs, netip.MustParsePrefix(a))
		}
		return e
	}
	anywhere, anywhere6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	return errors.Join(
		t.lab.Cable(end(t.client, "uplink", clientIP+"/24", "2001:db8:1::2/64"),
			end(t.server, "access", serverIP+"/24", "2001:db8:1::1/64")),
		t.lab.Cable(end(t.server, "uplink", serverUplinkIP+"/24", "2001:db8:2::1/64"),
			end(t.internet, "wire", internetIP+"/24", internetIP6+"/64")),
		t.client.AddRoute(anywhere, netip.MustParseAddr(serverIP)),
		t.client.AddRoute(anywhere6, netip.MustParseAddr("2001:db8:1::1")),
		t.server.AddRoute(anywhere, netip.MustParseAddr(internetIP)),
		t.server.AddRoute(anywhere6, netip.MustParseAddr(internetIP6)),
		runQuietly(t.exe, "keygen", t.key()),
	)
}

func (t *trial) key() string { return filepath.Join(t.dir, "vpn.key") }

// close ends what runs on the hosts, and the hosts. Programs that are still up
// are stopped first, since they keep former values of sysctls in a file.
func (t *trial) close() error {
	for _, p := range t.processes {
		select {
		case <-p.done:
		default:
			p.stop(syscall.SIGTERM)
		}
	}
	for _, l := range t.listeners {
		l.Close()
	}
	// The server's own file outlives it by design; not these keys.
	if key, _, err := session.LoadKey(t.key()); err == nil {
		os.Remove(replaysFile(stateDir(runtime.GOOS), key))
	}
	return errors.Join(t.lab.Close(), os.RemoveAll(t.dir))
}

func runQuietly(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// startServer starts a server, and waits until its host is set up.
func (t *trial) startServer(args ...string) (*process, error) {
	return t.start(t.server, "waiting for a client", append([]string{"server", t.key()}, args...)...)
}

// startClient starts a client, and waits until it is connected.
func (t *trial) startClient(args ...string) (*process, error) {
	return t.start(t.client, "Connected", append([]string{"client", t.key(), serverIP}, args...)...)
}

// startTimeout is far longer than any start takes.
const startTimeout = 20 * time.Second

func (t *trial) start(h *netlab.Host, until string, args ...string) (*process, error) {
	p := &process{done: make(chan struct{})}
	p.cmd = exec.Command(t.exe, args...)
	p.cmd.Env = t.env
	p.cmd.Stderr = &p.log
	begin := time.Now()
	if err := h.Start(p.cmd); err != nil {
		return nil, err
	}
	t.processes = append(t.processes, p)
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := p.await(until, startTimeout); err != nil {
		return p, errors.Join(err, p.stop(syscall.SIGKILL))
	}
	p.took = time.Since(begin)
	return p, nil
}

// process is a server or a client that was started on a host.
type process struct {
	cmd  *exec.Cmd
	log  logBuffer
	took time.Duration // from the start to the words that were awaited

	done chan struct{}
	err  error // valid when done is closed
}

// await waits until the program has logged these words.
func (p *process) await(words string, limit time.Duration) error { return p.awaitNth(1, words, limit) }

// awaitNth waits until the program has logged these words n times.
func (p *process) awaitNth(n int, words string, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		grown := p.log.grown()
		if p.log.count(words) >= n {
			return nil
		}
		select {
		case <-grown:
		case <-p.done:
			if p.log.count(words) >= n {
				return nil
			}
			return fmt.Errorf("%s ended (%v) before it said %q:\n%s", p.cmd.Args[1], p.err, words, p.log.String())
		case <-timer.C:
			return fmt.Errorf("%s did not say %q within %v:\n%s", p.cmd.Args[1], words, limit, p.log.String())
		}
	}
}

// stop sends a signal and waits for the end. An end by that signal is no
// error.
func (p *process) stop(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(startTimeout):
		p.cmd.Process.Kill()
		return fmt.Errorf("%s does not end after %v:\n%s", p.cmd.Args[1], s, p.log.String())
	}
	if exit, ok := errors.AsType[*exec.ExitError](p.err); ok && exit.Sys().(syscall.WaitStatus).Signal() == s {
		return nil
	}
	if p.err != nil {
		return fmt.Errorf("%s ended with %w:\n%s", p.cmd.Args[1], p.err, p.log.String())
	}
	return nil
}

// logBuffer collects what a program writes and tells when it writes more.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	next chan struct{}
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
	return b.text.Write(p)
}

// grown returns a channel that is closed by the next write.
func (b *logBuffer) grown() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *logBuffer) contains(words string) bool { return b.count(words) > 0 }

func (b *logBuffer) count(words string) int { return strings.Count(b.String(), words) }

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// serve answers TCP connections to an address of a host until the trial is
// closed.
func (t *trial) serve(h *netlab.Host, address string, answer func(net.Conn) error) error {
	l, err := h.Listen("tcp", address)
	if err != nil {
		return err
	}
	t.listeners = append(t.listeners, l)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn) // the other side sees what went wrong
			}()
		}
	}()
	return nil
}
