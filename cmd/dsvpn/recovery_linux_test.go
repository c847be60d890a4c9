package main

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
)

// startExchange starts a transfer both ways between the client and the
// internet host, and returns when it is well under way.
func startExchange(t testing.TB, tr *trial, size int64) (done chan error) {
	t.Helper()
	c := &meter{Conn: mustDial(t, tr.client, "tcp", internetIP, portExchange)}
	done = make(chan error, 1)
	go func() { done <- exchange(c, 3, size, size) }()
	eventually(t, "the transfer is under way", func() bool { return c.read.Load() > size/16 })
	select {
	case err := <-done:
		t.Fatalf("the transfer is over (%v): nothing can happen to it any more", err)
	default:
	}
	return done
}

// wantDone waits for the end of such a transfer.
func wantDone(t testing.TB, done chan error) {
	t.Helper()
	select {
	case err := <-done:
		check(t, err)
	case <-time.After(2 * patience):
		t.Fatalf("the transfer does not end within %v", 2*patience)
	}
}

// A connection of the client's survives the death of the server's process.
func TestServerKilledUnderTransfer(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	server, client := startServer(t, tr), startClient(t, tr)
	serveExchange(t, tr, tr.internet, "")
	done := startExchange(t, tr, 64<<20)

	check(t, server.stop(syscall.SIGKILL))
	check(t, client.await("session ended", patience))
	server = startServer(t, tr)
	check(t, server.await("Session established", patience))
	wantDone(t, done)
}

// The client's host moves to another network, with another address and
// another gateway, as a laptop does.
func TestUplinkMoved(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	const newIP = "192.0.2.2"
	anywhere, oldGateway, newGateway := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(serverIP), netip.MustParseAddr("192.0.2.1")
	old := netip.MustParsePrefix(clientIP + "/24")
	check(t, tr.lab.Cable(
		netlab.End{Host: tr.client, Interface: "mobile", Addrs: []netip.Prefix{netip.MustParsePrefix(newIP + "/24")}},
		netlab.End{Host: tr.server, Interface: "mast", Addrs: []netip.Prefix{netip.PrefixFrom(newGateway, 24)}}))
	wantHostsUnchanged(t, tr)
	t.Cleanup(func() { // what the test itself has changed
		check(t, errors.Join(
			tr.client.DelRoute(anywhere, newGateway),
			tr.client.AddAddr("uplink", old),
			tr.client.AddRoute(anywhere, oldGateway)))
	})
	server, client := startServer(t, tr), startClient(t, tr)
	serveExchange(t, tr, tr.internet, "")
	serveCaller(t, tr, tr.internet, "")
	done := startExchange(t, tr, 64<<20)

	check(t, errors.Join(
		tr.client.DelRoute(anywhere, oldGateway),
		tr.client.DelAddr("uplink", old),
		tr.client.AddRoute(anywhere, newGateway)))
	check(t, client.await(`reason="this host `, patience)) // lost the address, or has a better one
	check(t, server.await("remote="+newIP, patience))
	wantDone(t, done)
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	if n := strings.Count(client.log.String(), "Connected"); n != 2 {
		t.Errorf("the client has connected %d times, want 2", n)
	}
}

// Between two sessions the client's host sends nothing but attempts to
// connect.
func TestFailsClosed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		attempts bool // to connect, which come from the client meanwhile
		stop     func(t *testing.T, server, client *process)
		restart  func(*testing.T, *trial)
	}{
		{
			name: "server stopped", attempts: true,
			stop: func(t *testing.T, server, client *process) {
				check(t, server.stop(syscall.SIGTERM))
				check(t, client.await("connection failed", patience))
			},
			restart: func(t *testing.T, tr *trial) {
				check(t, startServer(t, tr).await("Session established", patience))
			},
		},
		{
			name: "client killed",
			stop: func(t *testing.T, _, client *process) { check(t, client.stop(syscall.SIGKILL)) },
			restart: func(t *testing.T, tr *trial) {
				startClient(t, tr)
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			wantHostsUnchanged(t, tr)
			server, client := startServer(t, tr), startClient(t, tr)
			serveCaller(t, tr, tr.internet, "")
			wantCaller(t, tr.client, internetIP, serverUplinkIP)

			tt.stop(t, server, client)
			c := newCapture(t, tr.server, "access")
			tryEverything(t, tr)
			if tt.attempts {
				n := len(attempts(c))
				eventually(t, "the client tries to connect", func() bool { return len(attempts(c)) > n })
			}
			packets := c.upTo(t, tr.client, serverIP)
			wantOnlyTunnel(t, packets)
			if !tt.attempts && slices.ContainsFunc(packets, isAttempt) {
				t.Error("a client that is dead sends")
			}
			tt.restart(t, tr)
			wantCaller(t, tr.client, internetIP, serverUplinkIP)
		})
	}
}

// wantOnlyTunnel fails the test for packets that are not the VPN's own.
func wantOnlyTunnel(t testing.TB, packets []packet) {
	t.Helper()
	for _, p := range packets {
		switch {
		case p.from.Is6() && p.to.IsLinkLocalMulticast(), p.protocol == unix.IPPROTO_ICMPV6 && p.to.IsLinkLocalUnicast():
			// neighbour discovery
		case isAttempt(p):
		default:
			t.Errorf("the client sent a packet of %v", p)
		}
	}
}

// isAttempt tells a packet of the VPN itself.
func isAttempt(p packet) bool {
	return p.protocol == unix.IPPROTO_TCP && p.to.String() == serverIP && p.toPort == defaultPort
}

func attempts(c *capture) (all []packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.packets {
		if isAttempt(p) {
			all = append(all, p)
		}
	}
	return all
}

// tryEverything has the client's host send all kinds of packets to the
// internet host, of which none may arrive.
func tryEverything(t *testing.T, tr *trial) {
	t.Helper()
	for _, address := range []string{internetIP, internetIP6} {
		wantNoAnswer(t, tr.client, address)
		if c, err := dial(t, tr.client, "udp", address, portEcho, impatience); err == nil {
			c.Write([]byte("leak?"))
		}
	}
	if c, err := tr.client.ListenPacket("ip4:icmp", "0.0.0.0"); err == nil {
		defer c.Close()
		c.WriteTo([]byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, &net.IPAddr{IP: net.ParseIP(internetIP)}) // an echo request
	}
}

// With a limit the client ends, after it has said what became of the host.
func TestReconnectLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(*testing.T, *trial) *process // returns a client that has lost its server
	}{
		{"no server", func(t *testing.T, tr *trial) *process {
			p, err := tr.start(tr.client, "connection failed", "client", tr.key(), serverIP, "--reconnect-limit", "3")
			return stopAtEnd(t, p, err)
		}},
		{"server stopped", func(t *testing.T, tr *trial) *process {
			server := startServer(t, tr)
			client := startClient(t, tr, "--reconnect-limit=3")
			check(t, server.stop(syscall.SIGTERM))
			return client
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			wantHostsUnchanged(t, tr)
			client := tt.start(t, tr)
			check(t, client.await("gave up after 3 attempts", patience))
			<-client.done
			if code := client.cmd.ProcessState.ExitCode(); code != exitError {
				t.Errorf("exit code %d, want %d", code, exitError)
			}
			log := client.log.String()
			removed, gaveUp := strings.Index(log, "routes, rules and addresses are removed"), strings.Index(log, "gave up after 3 attempts")
			if removed < 0 || removed > gaveUp {
				t.Errorf("the client does not say that its routes are removed before it gives up:\n%s", log)
			}
			if n := strings.Count(log, "connection failed"); n != 2 {
				t.Errorf("the client tries again %d times, want 2, in\n%s", n, log)
			}
		})
	}
}
