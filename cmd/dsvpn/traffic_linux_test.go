package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// newTestTrial returns a trial that is closed with the test. The test is
// skipped, or fails in CI, where labs cannot be had. The program is this test
// binary under the name of dsvpn.
func newTestTrial(t testing.TB) *trial {
	t.Helper()
	netlabtest.New(t) // may skip
	exe, err := exec.LookPath("dsvpn")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrial(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.close(); err != nil {
			t.Errorf("close the trial: %v", err)
		}
	})
	return tr
}

// wantHostsUnchanged fails the test when client and server hosts do not look
// at its end as they look now. What is started afterwards with [startServer]
// and [startClient] has been stopped by then.
func wantHostsUnchanged(t testing.TB, tr *trial) {
	t.Helper()
	netlabtest.Unchanged(t, tr.client)
	netlabtest.Unchanged(t, tr.server)
}

// startServer starts a server that is stopped with the test, unless it has
// ended by then. Stopping must succeed.
func startServer(t testing.TB, tr *trial, args ...string) *process {
	t.Helper()
	p, err := tr.startServer(args...)
	return stopAtEnd(t, p, err)
}

// startClient is startServer for the client, which is connected on return.
func startClient(t testing.TB, tr *trial, args ...string) *process {
	t.Helper()
	p, err := tr.startClient(args...)
	return stopAtEnd(t, p, err)
}

func stopAtEnd(t testing.TB, p *process, err error) *process {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-p.done: // the test has ended it, and looked how
		default:
			if err := p.stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("log of the %s:\n%s", p.cmd.Args[1], p.log.String())
		}
	})
	return p
}

// newTunnel returns a trial with server and client connected and a check at
// the end that both hosts are as they were.
func newTunnel(t testing.TB, args ...string) *trial {
	t.Helper()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	startServer(t, tr, args...)
	startClient(t, tr, args...)
	return tr
}

// check fails the test at once for an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Addresses inside the tunnel.
const (
	clientTunnelIP, serverTunnelIP   = "192.168.192.1", "192.168.192.254"
	clientTunnelIP6, serverTunnelIP6 = "64:ff9b::c0a8:c001", "64:ff9b::c0a8:c0fe"
)

// patience is how long a test waits for what happens at once on an idle
// machine, and impatience how long it looks out for what must not happen.
const (
	patience   = time.Minute
	impatience = 300 * time.Millisecond
)

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("within %v it did not happen that %s", patience, what)
		}
	}
}

// raceDetector reports whether the tests, and so the program, run with it.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// atOnce runs functions side by side, and fails the test for their errors.
func atOnce(t testing.TB, functions ...func() error) {
	t.Helper()
	var all sync.WaitGroup
	for _, f := range functions {
		all.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// dial connects from a host within a time.
func dial(t testing.TB, h *netlab.Host, network, address, port string, limit time.Duration) (net.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := h.Dial(ctx, network, net.JoinHostPort(address, port))
	if err == nil {
		t.Cleanup(func() { c.Close() })
		err = c.SetDeadline(time.Now().Add(10 * patience))
	}
	return c, err
}

func mustDial(t testing.TB, h *netlab.Host, network, address, port string) net.Conn {
	t.Helper()
	c, err := dial(t, h, network, address, port, patience)
	check(t, err)
	return c
}

// Ports of the services.
const (
	portCaller   = "7101" // says whom it sees
	portExchange = "7102" // is the other end of exchange
	portEcho     = "7103" // UDP: sends back what comes
	portMarker   = "7104" // UDP: nothing; packets to it are marks in a capture
)

// serveCaller makes a host tell callers the address that it sees.
func serveCaller(t testing.TB, tr *trial, h *netlab.Host, address string) {
	t.Helper()
	check(t, tr.serve(h, net.JoinHostPort(address, portCaller), func(c net.Conn) error {
		_, err := io.WriteString(c, addrOf(c.RemoteAddr()).String())
		return err
	}))
}

func addrOf(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

// caller connects to serveCaller and returns what it says.
func caller(t testing.TB, h *netlab.Host, address string, limit time.Duration) (string, error) {
	t.Helper()
	c, err := dial(t, h, "tcp", address, portCaller, limit)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// wantCaller fails the test unless the service sees this address.
func wantCaller(t testing.TB, h *netlab.Host, address, want string) {
	t.Helper()
	got, err := caller(t, h, address, patience)
	check(t, err)
	if got != want {
		t.Fatalf("%s sees %s, want %s", address, got, want)
	}
}

// wantNoAnswer fails the test if a connection comes about.
func wantNoAnswer(t testing.TB, h *netlab.Host, address string) {
	t.Helper()
	if who, err := caller(t, h, address, impatience); err == nil {
		t.Errorf("%s reaches %s, which sees %s", h.Name(), address, who)
	}
}

// data is a stream of bytes that is the same for the same seed.
func data(seed uint64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// exchange moves up bytes to the other end, and down bytes from it, at the
// same time. It checks the SHA-256 of what arrives at either end.
func exchange(c net.Conn, seed uint64, up, down int64) error {
	defer c.Close()
	order := binary.LittleEndian.AppendUint64(nil, seed)
	order = binary.LittleEndian.AppendUint64(order, uint64(up))
	order = binary.LittleEndian.AppendUint64(order, uint64(down))
	if _, err := c.Write(order); err != nil {
		return err
	}
	sent := make(chan error, 1)
	want := sha256.New()
	go func() {
		_, err := io.CopyN(io.MultiWriter(c, want), data(seed), up)
		sent <- err
	}()
	got, wantDown := sha256.New(), sha256.New()
	n, err := io.CopyN(got, c, down)
	if err != nil {
		c.Close()
		return errors.Join(fmt.Errorf("after %d of %d bytes down: %w", n, down, err), <-sent)
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("up: %w", err)
	}
	there := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, there); err != nil {
		return fmt.Errorf("after %d bytes up: %w", up, err)
	}
	if !bytes.Equal(there, want.Sum(nil)) {
		return fmt.Errorf("%d bytes up: what arrived is not what was sent", up)
	}
	io.CopyN(wantDown, data(^seed), down)
	if !bytes.Equal(got.Sum(nil), wantDown.Sum(nil)) {
		return fmt.Errorf("%d bytes down: what arrived is not what was sent", down)
	}
	return nil
}

// answerExchange is the other end of exchange.
func answerExchange(c net.Conn) error {
	var order [24]byte
	if _, err := io.ReadFull(c, order[:]); err != nil {
		return err
	}
	seed := binary.LittleEndian.Uint64(order[:])
	up, down := binary.LittleEndian.Uint64(order[8:]), binary.LittleEndian.Uint64(order[16:])
	received := make(chan error, 1)
	got := sha256.New()
	go func() {
		_, err := io.CopyN(got, c, int64(up))
		received <- err
	}()
	_, err := io.CopyN(c, data(^seed), int64(down))
	if err = errors.Join(err, <-received); err != nil {
		return err
	}
	_, err = c.Write(got.Sum(nil))
	return err
}

func serveExchange(t testing.TB, tr *trial, h *netlab.Host, address string) {
	t.Helper()
	check(t, tr.serve(h, net.JoinHostPort(address, portExchange), answerExchange))
}

// meter counts the bytes that come out of a connection.
type meter struct {
	net.Conn
	read atomic.Int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	m.read.Add(int64(n))
	return n, err
}

// What comes from the tunnel looks, outside, as if it came from the server.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	tr := newTunnel(t)
	serveCaller(t, tr, tr.internet, "")
	serveCaller(t, tr, tr.server, serverTunnelIP)
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	wantCaller(t, tr.client, serverTunnelIP, clientTunnelIP)
}

func TestPing(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "ping")
	tr := newTunnel(t)
	for _, tt := range []struct {
		name string
		from *netlab.Host
		to   string
		args string
		fail string // what ping says when that is right
	}{
		{name: "internet", from: tr.client, to: internetIP},
		{name: "internet, full packet", from: tr.client, to: internetIP, args: "-M do -s 1472"},
		{name: "internet, longer than its MTU", from: tr.client, to: internetIP, args: "-M do -s 1473", fail: "mtu"},
		{name: "internet, fragments", from: tr.client, to: internetIP, args: "-M dont -s 20000"},
		{name: "server", from: tr.client, to: serverTunnelIP},
		{name: "server, full packet", from: tr.client, to: serverTunnelIP, args: "-M do -s 8972"},
		{name: "server, longer than the MTU", from: tr.client, to: serverTunnelIP, args: "-M do -s 8973", fail: "too long"},
		{name: "server, fragments", from: tr.client, to: serverTunnelIP, args: "-M dont -s 60000"},
		{name: "client", from: tr.server, to: clientTunnelIP, args: "-M do -s 8972"},
		{name: "server, IPv6", from: tr.client, to: serverTunnelIP6, args: "-M do -s 8952"},
		{name: "client, IPv6", from: tr.server, to: clientTunnelIP6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"-n", "-c", "3", "-i", "0.05", "-w", "10"}, strings.Fields(tt.args)...)
			out, err := tt.from.Command(t.Context(), "ping", append(args, tt.to)...).CombinedOutput()
			switch { // where an answer takes longer than the interval, one more is asked for
			case tt.fail == "" && (err != nil || !bytes.Contains(out, []byte("packets transmitted, 3 received"))):
				t.Errorf("%v:\n%s", err, out)
			case tt.fail != "" && (err == nil || !bytes.Contains(out, []byte(tt.fail))):
				t.Errorf("%v, want a failure that says %q:\n%s", err, tt.fail, out)
			}
		})
	}
}

// A gibibyte each way at the same time, through the server's masquerading.
func TestTransfer(t *testing.T) {
	t.Parallel()
	size := int64(1 << 30)
	if testing.Short() || raceDetector() { // which makes the program many times slower
		size = 64 << 20
	}
	tr := newTunnel(t)
	serveExchange(t, tr, tr.internet, "")
	up, down := mustDial(t, tr.client, "tcp", internetIP, portExchange), mustDial(t, tr.client, "tcp", internetIP, portExchange)
	begin := time.Now()
	atOnce(t,
		func() error { return exchange(up, 1, size, 0) },
		func() error { return exchange(down, 2, 0, size) })
	t.Logf("%d MiB each way in %.1f s", size>>20, time.Since(begin).Seconds())
}

func TestManyConnections(t *testing.T) {
	t.Parallel()
	const count = 50
	size := int64(4 << 20)
	if testing.Short() || raceDetector() {
		size = 512 << 10
	}
	tr := newTunnel(t)
	serveExchange(t, tr, tr.internet, "")
	conns := make([]func() error, count)
	for i := range conns {
		c := mustDial(t, tr.client, "tcp", internetIP, portExchange)
		conns[i] = func() error { return exchange(c, uint64(i), size, size) }
	}
	atOnce(t, conns...) // all are open now, and start together
}

// serveEcho makes a host send every datagram back to where it came from.
func serveEcho(t testing.TB, h *netlab.Host, address string) {
	t.Helper()
	c, err := h.ListenPacket("udp", net.JoinHostPort(address, portEcho))
	check(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFrom(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.WriteTo(b[:n], from) // what is lost comes again
			}
		}
	}()
}

func datagram(size int) []byte {
	b := make([]byte, size)
	data(uint64(size)).Read(b)
	return b
}

// wantEchoes sends a datagram of each size, and again some times if no answer
// comes, and fails the test unless each comes back as it was. The length of an
// answer tells what it answers.
func wantEchoes(t testing.TB, c net.Conn, sizes []int) {
	t.Helper()
	const inFlight, rounds = 16, 10
	missing := sizes
	for round := 0; len(missing) > 0; round++ {
		if round == rounds {
			t.Fatalf("no answer to %d sizes, after %d tries each: %v", len(missing), rounds, missing[:min(len(missing), 20)])
		}
		var lost []int
		for batch := range slices.Chunk(missing, inFlight) {
			lost = append(lost, echoBatch(t, c, batch)...)
		}
		if len(lost) > 0 {
			t.Logf("%d of %d datagrams to send again", len(lost), len(missing))
		}
		missing = lost
	}
}

// echoBatch returns the sizes that no answer came to.
func echoBatch(t testing.TB, c net.Conn, sizes []int) []int {
	t.Helper()
	lost := slices.Clone(sizes)
	for _, size := range sizes {
		// "Too long" is what an earlier datagram met on its way.
		if _, err := c.Write(datagram(size)); err != nil && !errors.Is(err, syscall.EMSGSIZE) {
			t.Fatalf("send %d bytes: %v", size, err)
		}
	}
	b := make([]byte, 1<<16)
	check(t, c.SetReadDeadline(time.Now().Add(time.Second)))
	for len(lost) > 0 {
		n, err := c.Read(b)
		switch {
		case errors.Is(err, syscall.EMSGSIZE):
			continue
		case errors.Is(err, context.DeadlineExceeded), err != nil && err.(net.Error).Timeout():
			return lost
		}
		check(t, err)
		if !bytes.Equal(b[:n], datagram(n)) {
			t.Fatalf("the answer of %d bytes is not what was sent", n)
		}
		lost = slices.DeleteFunc(lost, func(size int) bool { return size == n })
	}
	return nil
}

func sizes(from, to int) (all []int) {
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

// A datagram of every size that fits into a packet of the tunnel, and of the
// internet.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	tr := newTunnel(t)
	serveEcho(t, tr.server, serverTunnelIP)
	serveEcho(t, tr.internet, "")
	wantEchoes(t, mustDial(t, tr.client, "udp", serverTunnelIP, portEcho), sizes(0, 8972))
	internet := mustDial(t, tr.client, "udp", internetIP, portEcho)
	wantEchoes(t, internet, sizes(0, 1472))
	wantEchoes(t, internet, []int{1473, 1480, 2000, 2960, 2961, 8972, 8973, 9000, 20000, 65507}) // in fragments
}

// Many small packets at once cost some of them, but not the session.
func TestFlood(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	server, client := startServer(t, tr), startClient(t, tr)
	for _, way := range []struct {
		from, to *netlab.Host
		address  string
	}{
		{tr.client, tr.server, serverTunnelIP},
		{tr.server, tr.client, clientTunnelIP},
	} {
		l, err := way.to.ListenPacket("udp", net.JoinHostPort(way.address, portMarker))
		check(t, err)
		defer l.Close()
		var arrived atomic.Int64
		go func() {
			for b := make([]byte, 100); ; arrived.Add(1) {
				if _, _, err := l.ReadFrom(b); err != nil {
					return
				}
			}
		}()
		c := mustDial(t, way.from, "udp", way.address, portMarker)
		const count = 20_000
		packet := datagram(64)
		for range count {
			if _, err := c.Write(packet); err != nil && !errors.Is(err, syscall.ENOBUFS) {
				t.Fatal(err)
			}
		}
		eventually(t, "a packet of the flood arrives", func() bool { return arrived.Load() > 0 })
		serveEcho(t, way.to, way.address)
		wantEchoes(t, mustDial(t, way.from, "udp", way.address, portEcho), sizes(0, 100))
		t.Logf("%d of %d packets to the %s arrived", arrived.Load(), count, way.to.Name())
	}
	wantOneSession(t, server, client)
}

// wantOneSession fails the test if the session did not last.
func wantOneSession(t testing.TB, server, client *process) {
	t.Helper()
	if n := strings.Count(client.log.String(), "Connected"); n != 1 || client.log.contains("session ended") {
		t.Errorf("the client has connected %d times", n)
	}
	if server.log.contains("Client disconnected") {
		t.Error("the session has ended")
	}
}
