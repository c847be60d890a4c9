package main

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// leaky sends datagrams all the time, with an address that belongs outside the
// tunnel, until the returned function is called.
func leaky(t *testing.T, h *netlab.Host, from string, to ...string) (stop func()) {
	t.Helper()
	conn, err := h.ListenPacket("udp4", from+":0")
	check(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var sender sync.WaitGroup
	sender.Go(func() {
		defer conn.Close()
		for ctx.Err() == nil {
			for _, ip := range to {
				conn.WriteTo([]byte("leak?"), &net.UDPAddr{IP: net.ParseIP(ip), Port: 9}) // refused, mostly
			}
			time.Sleep(200 * time.Microsecond)
		}
	})
	return func() { cancel(); sender.Wait() }
}

// wantNoLeak fails the test for packets other than those of the VPN itself and
// of neighbour discovery.
func wantNoLeak(t *testing.T, packets []packet) {
	t.Helper()
	for i, p := range packets {
		switch {
		case p.from.Is6() && p.to.IsLinkLocalMulticast(), p.protocol == unix.IPPROTO_ICMPV6 && p.to.IsLinkLocalUnicast(), isAttempt(p):
		default:
			t.Errorf("packet %d of %d is in the clear: %v", i, len(packets), p)
		}
		if t.Failed() {
			return
		}
	}
}

// With the kill switch nothing leaves the host but the VPN's own packets: not
// before the first session nor between two, not when somebody removes the
// routes, and not when the program is killed.
func TestKillSwitch(t *testing.T) {
	netlabtest.Need(t, "sh", "ip", "iptables", "ip6tables")
	for _, firewall := range []string{"nft", "iptables"} {
		t.Run(firewall, func(t *testing.T) {
			t.Parallel()
			testKillSwitch(t, "--firewall="+firewall)
		})
	}
}

func testKillSwitch(t *testing.T, firewall string) {
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	removeRules := func() { // those that are there: the guard may be about to put some back
		t.Helper()
		check(t, runOn(tr.client, "sh", "-c", "for f in -4 -6; do ip $f rule del priority 31000; ip $f rule del priority 31001; done; true"))
	}
	start := func(until string) *process {
		t.Helper()
		p, err := tr.start(tr.client, until, "client", tr.key(), serverIP, "--kill-switch", firewall)
		check(t, err)
		return p
	}
	client := start("connection failed")
	c := newCapture(t, tr.server, "access")
	stopLeak := leaky(t, tr.client, clientIP, internetIP, serverIP, serverUplinkIP)

	removeRules() // they are put back, but not at once
	tryEverything(t, tr)
	server := startServer(t, tr)
	check(t, client.await("Connected", patience))
	serveCaller(t, tr, tr.internet, "")
	wantCaller(t, tr.client, internetIP, serverUplinkIP)

	removeRules()
	anywhere, gateway := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(serverIP)
	check(t, tr.client.DelRoute(anywhere, gateway))
	check(t, tr.client.AddRoute(anywhere, gateway))
	eventually(t, "the rules are put back", func() bool {
		got, err := caller(t, tr.client, internetIP, impatience)
		return err == nil && got == serverUplinkIP
	})

	check(t, client.stop(syscall.SIGKILL))
	removeRules()
	tryEverything(t, tr)
	client = start("Connected")
	wantCaller(t, tr.client, internetIP, serverUplinkIP)

	check(t, server.stop(syscall.SIGKILL))
	startServer(t, tr)
	check(t, client.awaitNth(2, "Connected", patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)

	stopLeak()
	check(t, client.stop(syscall.SIGTERM))
	wantNoLeak(t, c.upTo(t, tr.client, serverIP))
}

// What the operator allows stays reachable past the tunnel.
func TestKillSwitchAllows(t *testing.T) {
	netlabtest.Need(t, "iptables", "ip6tables")
	for _, firewall := range []string{"nft", "iptables"} {
		t.Run(firewall, func(t *testing.T) {
			t.Parallel()
			testKillSwitchAllows(t, "--firewall="+firewall)
		})
	}
}

func testKillSwitchAllows(t *testing.T, firewall string) {
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	startServer(t, tr)
	serveCaller(t, tr, tr.server, "")
	client := startClient(t, tr, "--kill-switch", firewall)
	wantNoAnswer(t, tr.client, serverIP) // although it is next door
	check(t, client.stop(syscall.SIGTERM))
	startClient(t, tr, firewall, "--kill-switch", "--allow=198.51.100.0/24,2001:db8:1::/64")
	wantCaller(t, tr.client, serverIP, clientIP)
	wantCaller(t, tr.client, "2001:db8:1::1", "2001:db8:1::2")
	wantNoAnswer(t, tr.client, internetIP6)
}
