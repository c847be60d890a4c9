package main

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// wgQuick does to a host what wg-quick does for a peer with AllowedIPs
// 0.0.0.0/0 and ::/0, with an ordinary cable, wg0, in the place of WireGuard.
// Priorities are left to the kernel, as wg-quick does.
const wgQuick = `
for f in -4 -6; do
	ip $f route add default dev wg0 table 51820
	ip $f rule add not fwmark 51820 table 51820
	ip $f rule add table main suppress_prefixlength 0
done
`

// tailscale does to a host what Tailscale does: its marked packets go by the
// main table, and its own network by table 52.
const tailscale = `
for f in -4 -6; do
	ip $f rule add fwmark 0x80000/0xff0000 table main priority 5210
	ip $f rule add fwmark 0x80000/0xff0000 table default priority 5230
	ip $f rule add fwmark 0x80000/0xff0000 type unreachable priority 5250
	ip $f rule add table 52 priority 5270
done
ip route add 100.64.0.0/10 dev wg0 table 52
`

// Other VPNs and this one do not touch each other's rules and routes, and both
// work, whichever starts or stops first.
func TestBesideOtherVPNs(t *testing.T) {
	netlabtest.Need(t, "ip", "sh")
	for name, vpn := range map[string]struct {
		up    string
		reach string // what only the other VPN reaches
		own   string // what the other VPN sends to its own peer carries this mark
	}{
		"wg-quick":  {wgQuick, "", "51820"},
		"tailscale": {tailscale, "100.64.0.1", "0x80000"},
	} {
		for _, first := range []string{"other first", "dsvpn first"} {
			t.Run(name+"/"+first, func(t *testing.T) {
				t.Parallel()
				tr := newTestTrial(t)
				// Its far end forwards to the server like any way of the internet.
				prefix := netip.MustParsePrefix
				check(t, tr.lab.Cable(
					netlab.End{Host: tr.client, Interface: "wg0", Addrs: []netip.Prefix{prefix("192.0.2.1/24"), prefix("2001:db8:9::1/64")}},
					netlab.End{Host: tr.server, Interface: "peer", Addrs: []netip.Prefix{prefix("192.0.2.2/24"), prefix("100.64.0.1/32")}}))
				serveCaller(t, tr, tr.internet, "")
				serveCaller(t, tr, tr.server, "")
				startServer(t, tr)

				if first == "other first" {
					check(t, runOn(tr.client, "sh", "-ec", vpn.up))
				}
				others := notOurs(t, tr.client)
				client := startClient(t, tr)
				if first == "dsvpn first" {
					check(t, runOn(tr.client, "sh", "-ec", vpn.up))
					others = nil // not seen alone yet
				}
				// The other's packets to its peer go straight out, and not
				// through the tunnel.
				eventually(t, "the other VPN's own packets bypass the tunnel", func() bool {
					out, err := tr.client.Command(t.Context(), "ip", "route", "get", internetIP, "mark", vpn.own).Output()
					return err == nil && strings.Contains(string(out), "dev uplink")
				})
				if vpn.reach != "" {
					wantCaller(t, tr.client, vpn.reach, "192.0.2.1")
					wantCaller(t, tr.client, internetIP, serverUplinkIP)
				}
				// The tunnel itself lives, on whatever way: what goes in comes out.
				out, err := tr.client.Command(t.Context(), "ping", "-c1", "-W5", "-I", "tun0", "192.168.192.254").CombinedOutput()
				if err != nil {
					t.Errorf("ping through the tunnel: %v\n%s", err, out)
				}
				check(t, client.stop(syscall.SIGTERM))
				if others != nil {
					wantState(t, "after dsvpn", tr.client, others)
				} else if left := strings.Join(state(t, tr.client), ""); strings.Contains(left, "Protocol=69") || strings.Contains(left, "42069") {
					t.Errorf("left over:\n%s", left)
				}
			})
		}
	}
}

// notOurs is the state of a host, which has nothing of ours.
func notOurs(t *testing.T, h *netlab.Host) []string {
	t.Helper()
	lines := state(t, h)
	if all := strings.Join(lines, ""); strings.Contains(all, "Protocol=69") {
		t.Fatalf("something of ours is there:\n%s", all)
	}
	return lines
}

// Two clients of two servers run on one host, with a mark, a table and
// priorities each, and so do a server and a client.
func TestSeveralOnOneHost(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "ping")
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	startServer(t, tr)
	// The client's host is a server too, on its uplink address, and the
	// server's host has a second server, on another port.
	second, err := tr.start(tr.server, "waiting", "server", tr.key(), "auto", "444", "tun1", "10.9.0.2", "10.9.0.1", "--tunnel6=fd00:9::/96")
	stopAtEnd(t, second, err)
	asServer, err := tr.start(tr.client, "waiting", "server", tr.key(), "auto", "445", "tun7", "10.7.0.2", "10.7.0.1", "--tunnel6=fd00:7::/96")
	stopAtEnd(t, asServer, err)

	client := startClient(t, tr)
	other, err := tr.start(tr.client, "Connected", "client", tr.key(), serverIP, "444", "tun1", "10.9.0.1", "10.9.0.2",
		"--tunnel6=fd00:9::/96", "--mark=42070", "--table=42070", "--rule-priority=31010")
	stopAtEnd(t, other, err)
	for _, peer := range []string{"192.168.192.254", "10.9.0.2"} {
		out, err := tr.client.Command(t.Context(), "ping", "-c3", "-i0.2", "-W5", peer).CombinedOutput()
		if err != nil {
			t.Errorf("ping %s: %v\n%s", peer, err, out)
		}
	}
	serveCaller(t, tr, tr.internet, "")
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	check(t, client.stop(syscall.SIGTERM)) // the other one has it all now
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	if n := other.log.count("Connected"); n > 2 {
		t.Errorf("the second client has connected %d times:\n%s", n, other.log.String())
	}
}
