package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// newNeighbourhood returns a trial with one host more, on a cable of its own
// to both client and server, with routes by which it reaches whatever they
// let it reach.
func newNeighbourhood(t testing.TB) (tr *trial, neighbour *netlab.Host) {
	t.Helper()
	tr = newTestTrial(t)
	neighbour = netlabtest.Host(t, tr.lab, "neighbour")
	prefixes := func(all ...string) (p []netip.Prefix) {
		for _, s := range all {
			p = append(p, netip.MustParsePrefix(s))
		}
		return p
	}
	check(t, tr.lab.Cable(
		netlab.End{Host: neighbour, Interface: "east", Addrs: prefixes("192.0.2.1/25", "2001:db8:3::1/64")},
		netlab.End{Host: tr.client, Interface: "lan", Addrs: prefixes("192.0.2.2/25", "2001:db8:3::2/64")}))
	check(t, tr.lab.Cable(
		netlab.End{Host: neighbour, Interface: "west", Addrs: prefixes("192.0.2.129/25", "2001:db8:4::1/64")},
		netlab.End{Host: tr.server, Interface: "lan", Addrs: prefixes("192.0.2.130/25", "2001:db8:4::2/64")}))
	for _, r := range []struct {
		from    *netlab.Host
		to, via string
	}{
		{neighbour, clientTunnelIP + "/32", "192.0.2.2"},
		{neighbour, serverTunnelIP + "/32", "192.0.2.130"},
		{neighbour, clientTunnelIP6 + "/128", "2001:db8:3::2"},
		{neighbour, serverTunnelIP6 + "/128", "2001:db8:4::2"},
		{tr.internet, serverTunnelIP + "/32", serverUplinkIP},
		{tr.internet, clientTunnelIP + "/32", serverUplinkIP}, // the server is a router
		{tr.internet, serverTunnelIP6 + "/128", "2001:db8:2::1"},
	} {
		check(t, r.from.AddRoute(netip.MustParsePrefix(r.to), netip.MustParseAddr(r.via)))
	}
	wantHostsUnchanged(t, tr)
	return tr, neighbour
}

// outsiders are all who might reach a tunnel address from outside the tunnel.
func outsiders(tr *trial, neighbour *netlab.Host) (all []struct {
	host    *netlab.Host
	address string
}) {
	for _, o := range []struct {
		host      *netlab.Host
		addresses []string
	}{
		{neighbour, []string{clientTunnelIP, serverTunnelIP, clientTunnelIP6, serverTunnelIP6}},
		{tr.internet, []string{serverTunnelIP, serverTunnelIP6}},
	} {
		for _, a := range o.addresses {
			all = append(all, struct {
				host    *netlab.Host
				address string
			}{o.host, a})
		}
	}
	return all
}

// Tunnel addresses answer to the other end of the tunnel, and to nobody else.
func TestTunnelAddressFromOutside(t *testing.T) {
	t.Parallel()
	tr, neighbour := newNeighbourhood(t)
	startServer(t, tr)
	startClient(t, tr)
	for _, s := range []struct {
		at, from             *netlab.Host
		address, fromAddress string
	}{
		{tr.server, tr.client, serverTunnelIP, clientTunnelIP},
		{tr.client, tr.server, clientTunnelIP, serverTunnelIP},
		{tr.server, tr.client, serverTunnelIP6, clientTunnelIP6},
		{tr.client, tr.server, clientTunnelIP6, serverTunnelIP6},
	} {
		serveCaller(t, tr, s.at, s.address)
		wantCaller(t, s.from, s.address, s.fromAddress)
		wantCaller(t, s.at, s.address, s.address) // and to the host itself
	}
	for _, o := range outsiders(tr, neighbour) {
		wantNoAnswer(t, o.host, o.address)
	}
	wantNoAnswer(t, tr.internet, clientTunnelIP) // through the server into the tunnel
}

// Without a firewall of ours, outsiders do reach the tunnel addresses: the
// test above would see it.
func TestTunnelAddressFromOutsideWithoutFirewall(t *testing.T) {
	t.Parallel()
	tr, neighbour := newNeighbourhood(t)
	startServer(t, tr, "--firewall=none")
	startClient(t, tr, "--firewall=none")
	serveCaller(t, tr, tr.client, "")
	serveCaller(t, tr, tr.server, "")
	for _, o := range outsiders(tr, neighbour) {
		c := mustDial(t, o.host, "tcp", o.address, portCaller)
		c.Close()
	}
}

// Nothing but the client's own address comes out of the tunnel.
func TestSpoofedSource(t *testing.T) {
	t.Parallel()
	tr := newTrial6(t)
	startServer(t, tr, "--ipv6=tunnel")
	startClient(t, tr, "--ipv6=tunnel")
	wire := newCapture(t, tr.internet, "wire")
	local := newCapture(t, tr.server, "tun0")
	forged := []string{
		"10.66.66.66", clientIP, internetIP, serverIP, serverUplinkIP, serverTunnelIP, "192.168.192.2",
		"2001:db8:1::2", "2001:db8:99::1", "64:ff9b:1::1",
	}
	for _, source := range forged {
		sendFrom(t, tr.client, source, internetIP, internetIP6)
	}
	// What is genuine, and comes later, arrives.
	seen := wire.upTo(t, tr.client, internetIP)
	for _, p := range seen {
		if p.toPort == 4711 {
			t.Errorf("the internet host gets a packet of %v", p)
		}
	}
	sent := local.upTo(t, tr.client, internetIP)
	for _, source := range forged {
		if !slices.ContainsFunc(sent, func(p packet) bool { return p.from.String() == source && p.toPort == 4711 }) {
			t.Errorf("the packet from %s has not come to the server", source)
		}
	}
}

// sendFrom sends a datagram into the tunnel with any source address, to that
// of two addresses which is of its family.
func sendFrom(t *testing.T, h *netlab.Host, source, to4, to6 string) {
	t.Helper()
	from, to, family := netip.MustParseAddr(source), netip.MustParseAddr(to4), unix.AF_INET
	if from.Is6() {
		to, family = netip.MustParseAddr(to6), unix.AF_INET6
	}
	udp := binary.BigEndian.AppendUint16(nil, 4711)
	udp = binary.BigEndian.AppendUint16(udp, 4711)
	udp = append(udp, 0, 12, 0, 0, 'f', 'a', 'k', 'e') // length, no checksum
	var header []byte
	var target unix.Sockaddr
	if from.Is4() {
		header = []byte{0x45, 0, 0, byte(20 + len(udp)), 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}
		target = &unix.SockaddrInet4{Addr: to.As4()}
	} else {
		header = []byte{0x60, 0, 0, 0, 0, byte(len(udp)), unix.IPPROTO_UDP, 64}
		target = &unix.SockaddrInet6{Addr: to.As16()}
	}
	header = append(append(header, from.AsSlice()...), to.AsSlice()...)
	err := h.Do(func() error {
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return errors.Join(unix.BindToDevice(fd, "tun0"), unix.Sendto(fd, append(header, udp...), 0, target))
	})
	if err != nil {
		t.Fatalf("send from %s: %v", source, err)
	}
}

// In point-to-point mode the tunnel is an interface with an address, and
// everything else on the host stays as it is.
func TestPointToPoint(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	before := map[*netlab.Host]string{tr.client: netlabtest.Snapshot(t, tr.client), tr.server: netlabtest.Snapshot(t, tr.server)}
	startServer(t, tr, "--point-to-point")
	startClient(t, tr, "--point-to-point")
	for h, old := range before {
		during := strings.Split(netlabtest.Snapshot(t, h), "\n")
		for _, line := range during {
			if !strings.Contains(old, line) && !strings.Contains(line, "tun0") {
				t.Errorf("new on the %s's host: %s", h.Name(), line)
			}
		}
		for line := range strings.SplitSeq(old, "\n") {
			if !slices.Contains(during, line) {
				t.Errorf("gone from the %s's host: %s", h.Name(), line)
			}
		}
	}
	serveCaller(t, tr, tr.server, "")
	serveCaller(t, tr, tr.internet, "")
	serveExchange(t, tr, tr.server, serverTunnelIP)
	wantCaller(t, tr.client, serverTunnelIP, clientTunnelIP)
	wantCaller(t, tr.client, serverUplinkIP, clientIP) // by the default route, in the clear
	wantNoAnswer(t, tr.client, internetIP)
	check(t, exchange(mustDial(t, tr.client, "tcp", serverTunnelIP, portExchange), 12, 1<<20, 1<<20))
}
