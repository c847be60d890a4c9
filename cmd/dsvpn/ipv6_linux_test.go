package main

import (
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const clientIP6 = "2001:db8:1::2"

// newTrial6 returns a trial whose server routes IPv6, and whose internet host
// knows the ways back: to the client's network, and into the tunnel. So IPv6
// that leaks arrives, and so does what goes through the tunnel.
func newTrial6(t testing.TB) *trial {
	t.Helper()
	tr := newTestTrial(t)
	serverUplinkIP6 := netip.MustParseAddr("2001:db8:2::1")
	check(t, errors.Join(
		tr.server.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
		tr.internet.AddRoute(netip.MustParsePrefix("2001:db8:1::/64"), serverUplinkIP6),
		tr.internet.AddRoute(netip.MustParsePrefix("64:ff9b::/96"), serverUplinkIP6)))
	serveCaller(t, tr, tr.internet, "")
	wantCaller(t, tr.client, internetIP6, clientIP6) // it would leak
	wantHostsUnchanged(t, tr)
	return tr
}

// wantRefusal fails the test unless a connection ends in one of these errors,
// and soon, so that a program turns to IPv4.
func wantRefusal(t testing.TB, tr *trial, address string, want ...error) {
	t.Helper()
	_, err := caller(t, tr.client, address, patience/4)
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("a connection to %s ends with %v, want one of %v", address, err, want)
	}
}

func TestIPv6Block(t *testing.T) {
	t.Parallel()
	tr := newTrial6(t)
	startServer(t, tr)
	startClient(t, tr)
	c := newCapture(t, tr.server, "access")
	wantRefusal(t, tr, internetIP6, unix.EHOSTUNREACH)
	if c, err := dial(t, tr.client, "udp", internetIP6, portEcho, impatience); !errors.Is(err, unix.EHOSTUNREACH) {
		t.Errorf("a datagram socket gets %v, %v, want %v", c, err, unix.EHOSTUNREACH)
	}
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	for _, p := range c.upTo(t, tr.client, serverIP) {
		neighbourDiscovery := p.protocol == unix.IPPROTO_ICMPV6 && p.to.String() != internetIP6
		if p.to.Is6() && p.to.IsGlobalUnicast() && !neighbourDiscovery {
			t.Errorf("the client sent a packet of %v", p)
		}
	}
	// The two ends may talk IPv6 with each other, and nobody else with them.
	serveCaller(t, tr, tr.client, clientTunnelIP6)
	wantCaller(t, tr.server, clientTunnelIP6, serverTunnelIP6)
	wantNoAnswer(t, tr.internet, clientTunnelIP6)
}

func TestIPv6Tunnel(t *testing.T) {
	t.Parallel()
	tr := newTrial6(t)
	startServer(t, tr, "--ipv6=tunnel")
	startClient(t, tr, "--ipv6=tunnel")
	serveCaller(t, tr, tr.server, serverTunnelIP6)
	serveExchange(t, tr, tr.internet, "")
	c := newCapture(t, tr.server, "access")
	wantCaller(t, tr.client, serverTunnelIP6, clientTunnelIP6)
	wantCaller(t, tr.client, internetIP6, clientTunnelIP6)
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	conn := mustDial(t, tr.client, "tcp", internetIP6, portExchange)
	check(t, exchange(conn, 6, 1<<20, 1<<20))
	for _, p := range c.upTo(t, tr.client, serverIP) {
		if p.to.String() == internetIP6 {
			t.Errorf("the client sent a packet of %v past the tunnel", p)
		}
	}
}

func TestIPv6Off(t *testing.T) {
	t.Parallel()
	tr := newTrial6(t)
	startServer(t, tr, "--ipv6=off")
	client := startClient(t, tr, "--ipv6=off")
	wantCaller(t, tr.client, internetIP6, clientIP6)
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	wantNoAnswer(t, tr.client, serverTunnelIP6)
	if !client.log.contains("IPv6 does not go through the tunnel and leaves this host in the clear") {
		t.Error("the client does not say so")
	}
}

// A client that sends IPv6 to a server that blocks it is told, whether or not
// the server's host routes IPv6.
func TestIPv6TunnelToServerThatBlocks(t *testing.T) {
	t.Parallel()
	for name, forwarding := range map[string]string{"router": "1", "no router": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			check(t, tr.server.SetSysctl("net.ipv6.conf.all.forwarding", forwarding))
			wantHostsUnchanged(t, tr)
			startServer(t, tr)
			startClient(t, tr, "--ipv6=tunnel")
			serveCaller(t, tr, tr.internet, "")
			wantRefusal(t, tr, internetIP6, syscall.EACCES, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNREFUSED)
			wantCaller(t, tr.client, internetIP, serverUplinkIP)
		})
	}
}
