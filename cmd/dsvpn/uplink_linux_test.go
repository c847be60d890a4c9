package main

import (
	"net/netip"
	"syscall"
	"testing"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// The server follows its default route: to another interface, away for a
// while and back, and to a better one of two. Clients are masqueraded with the
// address of the interface of the moment, and nobody has to connect again.
func TestServerFollowsItsUplink(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "ip")
	tr := newTunnel(t)
	second := func(h *netlab.Host, iface, addr string) netlab.End {
		return netlab.End{Host: h, Interface: iface, Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}
	}
	// A host behind both uplinks, so that the way there is a matter of routes.
	const target = "192.0.2.1"
	check(t, tr.lab.Cable(second(tr.server, "uplink2", "192.0.3.1/24"), second(tr.internet, "wire2", "192.0.3.2/24")))
	check(t, tr.internet.AddAddr("lo", netip.MustParsePrefix(target+"/32")))
	serveCaller(t, tr, tr.internet, "")
	onServer := func(args ...string) {
		t.Helper()
		check(t, runOn(tr.server, "ip", args...))
	}
	seenAs := func(want string) {
		t.Helper()
		eventually(t, "the target sees "+want, func() bool {
			got, err := caller(t, tr.client, target, impatience)
			return err == nil && got == want
		})
	}
	seenAs(serverUplinkIP)
	onServer("route", "replace", "default", "via", "192.0.3.2")
	seenAs("192.0.3.1")
	onServer("route", "del", "default")
	onServer("route", "add", "default", "via", internetIP)
	seenAs(serverUplinkIP)
	onServer("route", "del", "default")
	onServer("route", "add", "default", "via", internetIP, "metric", "200")
	onServer("route", "add", "default", "via", "192.0.3.2", "metric", "100")
	seenAs("192.0.3.1")
	// As it was, for the comparison at the end.
	onServer("route", "del", "default")
	onServer("route", "del", "default")
	onServer("link", "del", "uplink2")
	check(t, tr.server.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(internetIP)))
}

// Both ends work with every kind of reverse-path filtering, and leave it as it
// is.
func TestReversePathFilter(t *testing.T) {
	netlabtest.Need(t, "iptables", "ip6tables")
	for _, tt := range [][3]string{
		{"all", "0", "nft"}, {"all", "1", "nft"}, {"all", "2", "nft"},
		{"uplink", "0", "nft"}, {"uplink", "1", "nft"}, {"uplink", "2", "nft"},
		{"all", "1", "iptables"}, {"uplink", "1", "iptables"},
	} {
		where, mode, firewall := tt[0], tt[1], "--firewall="+tt[2]
		t.Run(where+"="+mode+firewall, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			// From behind a router, where no route of the client's own
			// leads to the server, as in real life.
			const far = "192.0.2.53"
			check(t, tr.server.AddAddr("lo", netip.MustParsePrefix(far+"/32")))
			serveCaller(t, tr, tr.internet, "")
			for _, h := range []*netlab.Host{tr.client, tr.server} {
				check(t, h.SetSysctl("net.ipv4.conf."+where+".rp_filter", mode))
			}
			wantHostsUnchanged(t, tr)
			startServer(t, tr, firewall)
			p, err := tr.start(tr.client, "Connected", "client", tr.key(), far, firewall)
			stopAtEnd(t, p, err)
			wantCaller(t, tr.client, internetIP, serverUplinkIP)
			for _, h := range []*netlab.Host{tr.client, tr.server} {
				if got, err := h.Sysctl("net.ipv4.conf." + where + ".rp_filter"); err != nil || got != mode {
					t.Errorf("rp_filter of the %s is %s now, error %v", h.Name(), got, err)
				}
			}
		})
	}
}

// Somebody who connects to a client host from outside gets answers with
// --keep-inbound and, as the warning says, none without.
func TestKeepInbound(t *testing.T) {
	netlabtest.Need(t, "iptables", "ip6tables")
	for _, tt := range [][2]string{{"0", "nft"}, {"1", "nft"}, {"0", "iptables"}, {"1", "iptables"}} {
		rpFilter, firewall := tt[0], "--firewall="+tt[1]
		t.Run("rp_filter="+rpFilter+firewall, func(t *testing.T) {
			tr := newTestTrial(t)
			check(t, tr.client.SetSysctl("net.ipv4.conf.all.rp_filter", rpFilter))
			check(t, tr.internet.AddRoute(netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr(serverUplinkIP)))
			serveCaller(t, tr, tr.client, "")
			startServer(t, tr)

			t.Setenv("SSH_CONNECTION", internetIP+" 40000 "+clientIP+" 22")
			without := startClient(t, tr, firewall)
			wantNoAnswer(t, tr.internet, clientIP)
			if !without.log.contains("--keep-inbound") {
				t.Errorf("no warning of the lost connection:\n%s", without.log.String())
			}
			check(t, without.stop(syscall.SIGTERM))

			with := startClient(t, tr, firewall, "--keep-inbound")
			wantCaller(t, tr.internet, clientIP, internetIP)
			if with.log.contains("will hang") {
				t.Errorf("a warning although the connection stays:\n%s", with.log.String())
			}
			serveCaller(t, tr, tr.internet, "")
			wantCaller(t, tr.client, internetIP, serverUplinkIP) // its own connections still take the tunnel
		})
	}
}
