package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// A path on which nothing comes through any more, or a peer that hangs, is
// noticed by the other side within the time-out, and when it is over so is the
// trouble. (Without a time-out of its own, TCP takes a quarter of an hour.)
func TestDeadPath(t *testing.T) {
	netlabtest.Need(t, "nft")
	const timeout = 3 * time.Second
	flag := "--timeout=" + timeout.String()
	// From then on a hang is noticed within the time-out, and not just within
	// that of a peer of which nothing is known.
	const known = "peer sends heartbeats"
	ended := map[string]string{"server": "Client disconnected", "client": "session ended"}
	stopped := func(_ *testing.T, _ *trial, p *process) func() {
		check(t, p.cmd.Process.Signal(syscall.SIGSTOP))
		return func() { check(t, p.cmd.Process.Signal(syscall.SIGCONT)) }
	}
	for _, tt := range []struct {
		name string
		// what happens; the result ends it
		happens func(t *testing.T, tr *trial, server, client *process) (end func())
		notices []string // who must
	}{
		{"cable cut", func(t *testing.T, tr *trial, _, _ *process) func() {
			return cut(t, tr.server)
		}, []string{"server", "client"}},
		{"server hangs", func(t *testing.T, tr *trial, server, _ *process) func() {
			return stopped(t, tr, server)
		}, []string{"client"}},
		{"client hangs", func(t *testing.T, tr *trial, _, client *process) func() {
			return stopped(t, tr, client)
		}, []string{"server"}},
	} {
		for _, load := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{false: ", idle", true: ", loaded"}[load], func(t *testing.T) {
				t.Parallel()
				tr := newTestTrial(t)
				wantHostsUnchanged(t, tr)
				ends := map[string]*process{
					"server": startServer(t, tr, flag, "--log-level=debug"),
					"client": startClient(t, tr, flag, "--log-level=debug"),
				}
				for _, who := range tt.notices {
					check(t, ends[who].await(known, patience))
				}
				serveExchange(t, tr, tr.internet, "")
				serveCaller(t, tr, tr.internet, "")
				wantCaller(t, tr.client, internetIP, serverUplinkIP)
				var done chan error
				if load {
					done = startExchange(t, tr, 64<<20)
				}
				start := time.Now()
				end := tt.happens(t, tr, ends["server"], ends["client"])
				defer end()
				for _, who := range tt.notices {
					check(t, ends[who].await(ended[who], patience))
					if took := time.Since(start); took > 4*timeout {
						t.Errorf("the %s notices after %v, with a time-out of %v", who, took, timeout)
					}
				}
				end()
				wantCaller(t, tr.client, internetIP, serverUplinkIP)
				if load {
					wantDone(t, done)
				}
			})
		}
	}
}

// The same for a peer that sends no heartbeats, as the C program: the server
// sees that nothing is acknowledged, or taken.
func TestDeadPathOfOtherPeers(t *testing.T) {
	netlabtest.Need(t, "nft")
	const timeout = 3 * time.Second
	for _, tt := range []struct {
		name    string
		happens func(t *testing.T, tr *trial, p *rawPeer) (end func())
	}{
		{"cable cut", func(t *testing.T, tr *trial, _ *rawPeer) func() { return cut(t, tr.server) }},
		{"hangs under load", func(t *testing.T, tr *trial, _ *rawPeer) func() { // it reads nothing
			c := mustDial(t, tr.server, "udp", clientTunnelIP, portMarker)
			ctx, cancel := context.WithCancel(t.Context())
			var sending sync.WaitGroup
			sending.Go(func() {
				for packet := make([]byte, 8000); ctx.Err() == nil; {
					c.Write(packet)
					if _, err := c.Write(packet); err != nil { // no buffer: the device is behind
						time.Sleep(time.Millisecond)
					}
				}
			})
			return func() { cancel(); sending.Wait() }
		}},
		{"closes its half", func(t *testing.T, _ *trial, p *rawPeer) func() {
			check(t, p.CloseWrite())
			return func() {}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			wantHostsUnchanged(t, tr)
			server := startServer(t, tr, "--timeout="+timeout.String())
			p, err := dialPeer(tr.client, serverIP)
			check(t, err)
			defer p.Close()
			key := readKey(t, tr.key())
			check(t, p.handshake(&key, unixNow()))
			_, err = p.Write(p.frame(udpPacket(clientTunnelIP, serverTunnelIP, 9, nil)))
			check(t, err)
			check(t, server.await("Session established", patience))
			start := time.Now()
			end := tt.happens(t, tr, p)
			defer end()
			check(t, server.await("Client disconnected", patience))
			if took := time.Since(start); took > 4*timeout {
				t.Errorf("noticed after %v, with a time-out of %v", took, timeout)
			}
		})
	}
}

// cut has a host drop all of the tunnel's TCP packets silently, in and out,
// until the result is called, for the first time.
func cut(t *testing.T, h *netlab.Host) (mend func()) {
	t.Helper()
	check(t, runOn(h, "nft", `table inet cut {
		chain in { type filter hook input priority -400; tcp dport 443 drop; }
		chain out { type filter hook output priority -400; tcp sport 443 drop; }
	}`))
	mended := false
	return func() {
		t.Helper()
		if !mended {
			mended = true
			check(t, runOn(h, "nft", "delete table inet cut"))
		}
	}
}

// A path that is so slow that packets wait for seconds, and that loses many of
// them, is no dead path.
func TestSlowPathIsKept(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "tc")
	tr := newTestTrial(t)
	server, client := startServer(t, tr, "--timeout=6s"), startClient(t, tr, "--timeout=6s")
	serveExchange(t, tr, tr.internet, "")
	serveCaller(t, tr, tr.internet, "")
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	// 8 kB/s, behind a queue of almost 2 s each way.
	for h, iface := range map[*netlab.Host]string{tr.client: "uplink", tr.server: "access"} {
		check(t, runOn(h, "tc", "qdisc", "add", "dev", iface, "root", "tbf", "rate", "64kbit", "burst", "10kb", "limit", "15kb"))
	}
	const size = 100_000
	c := mustDial(t, tr.client, "tcp", internetIP, portExchange)
	check(t, exchange(c, 5, size, size))
	for p, words := range map[*process]string{server: "Client disconnected", client: "session ended"} {
		if p.log.contains(words) {
			t.Errorf("the %s gives up a slow path:\n%s", p.cmd.Args[1], p.log.String())
		}
	}
}

// An operator asks with SIGUSR1.
func TestReconnectOnSignal(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	server, client := startServer(t, tr), startClient(t, tr)
	serveCaller(t, tr, tr.internet, "")
	check(t, server.await("Session established", patience))
	check(t, client.cmd.Process.Signal(syscall.SIGUSR1))
	check(t, client.await(`reason="asked to connect again"`, patience))
	check(t, client.awaitNth(2, "Connected", patience))
	check(t, server.awaitNth(2, "Session established", patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	check(t, server.cmd.Process.Signal(syscall.SIGUSR1))
	check(t, server.await(`report="session with `+clientIP, patience))
}

// A new gateway, with the same address of the client's host: what is between
// the client and its server may know nothing of the old connection.
func TestNewGateway(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	const far, otherGateway = "192.0.2.53", "198.51.100.3"
	check(t, errors.Join(
		tr.server.AddAddr("lo", netip.MustParsePrefix(far+"/32")),
		tr.server.AddAddr("access", netip.MustParsePrefix(otherGateway+"/24"))))
	startServer(t, tr)
	p, err := tr.start(tr.client, "Connected", "client", tr.key(), far)
	client := stopAtEnd(t, p, err)
	serveCaller(t, tr, tr.internet, "")
	anywhere := netip.MustParsePrefix("0.0.0.0/0")
	check(t, errors.Join(
		tr.client.DelRoute(anywhere, netip.MustParseAddr(serverIP)),
		tr.client.AddRoute(anywhere, netip.MustParseAddr(otherGateway))))
	check(t, client.await(`reason="this host now reaches the server by another path"`, patience))
	check(t, client.awaitNth(2, "Connected", patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	if n := strings.Count(client.log.String(), "Connected"); n != 2 {
		t.Errorf("the client has connected %d times, want 2", n)
	}
}
