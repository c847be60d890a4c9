package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

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
	check(t, tr.serve(tr.internet, ":"+portWho, sayWho))
	onServer := func(args ...string) {
		t.Helper()
		if out, err := tr.server.CombinedOutput(exec.Command("ip", args...)); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	seenAs := func(want string) {
		t.Helper()
		var got string
		var err error
		for end := time.Now().Add(startTimeout); time.Now().Before(end); {
			if got, err = ask(t.Context(), time.Second, tr.client, target); err == nil && got == want {
				return
			}
		}
		t.Fatalf("the target sees %q, error %v, want %s", got, err, want)
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

// ask asks a service that says whom it sees.
func ask(ctx context.Context, limit time.Duration, from *netlab.Host, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", net.JoinHostPort(host, portWho))
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// Both ends work with every kind of reverse-path filtering, and leave it as it
// is.
func TestReversePathFilter(t *testing.T) {
	for _, where := range []string{"all", "uplink"} {
		for _, mode := range []string{"0", "1", "2"} {
			t.Run(where+"="+mode, func(t *testing.T) {
				t.Parallel()
				tr := newTestTrial(t)
				// From behind a router, where no route of the client's own
				// leads to the server, as in real life.
				const far = "192.0.2.53"
				check(t, tr.server.AddAddr("lo", netip.MustParsePrefix(far+"/32")))
				check(t, tr.serve(tr.internet, ":"+portWho, sayWho))
				for _, h := range []*netlab.Host{tr.client, tr.server} {
					check(t, h.SetSysctl("net.ipv4.conf."+where+".rp_filter", mode))
				}
				wantHostsUnchanged(t, tr)
				startServer(t, tr)
				p, err := tr.start(tr.client, "Connected", "client", tr.key(), far)
				stopAtEnd(t, p, err)
				if got, err := ask(t.Context(), enough, tr.client, internetIP); err != nil || got != serverUplinkIP {
					t.Errorf("the internet host sees %q, error %v", got, err)
				}
				for _, h := range []*netlab.Host{tr.client, tr.server} {
					if got, err := h.Sysctl("net.ipv4.conf." + where + ".rp_filter"); err != nil || got != mode {
						t.Errorf("rp_filter of the %s is %s now, error %v", h.Name(), got, err)
					}
				}
			})
		}
	}
}

// Somebody who connects to a client host from outside gets answers with
// --keep-inbound and, as the warning says, none without.
func TestKeepInbound(t *testing.T) {
	for _, rpFilter := range []string{"0", "1"} {
		t.Run("rp_filter="+rpFilter, func(t *testing.T) {
			tr := newTestTrial(t)
			check(t, tr.client.SetSysctl("net.ipv4.conf.all.rp_filter", rpFilter))
			check(t, tr.internet.AddRoute(netip.MustParsePrefix("198.51.100.0/24"), netip.MustParseAddr(serverUplinkIP)))
			check(t, tr.serve(tr.client, ":"+portWho, sayWho))
			startServer(t, tr)

			t.Setenv("SSH_CONNECTION", internetIP+" 40000 "+clientIP+" 22")
			without := startClient(t, tr)
			if got, err := ask(t.Context(), silence, tr.internet, clientIP); err == nil {
				t.Errorf("without --keep-inbound the answer is %q", got)
			}
			if !without.log.contains("--keep-inbound") {
				t.Errorf("no warning of the lost connection:\n%s", without.log.String())
			}
			check(t, without.stop(syscall.SIGTERM))

			with := startClient(t, tr, "--keep-inbound")
			if got, err := ask(t.Context(), enough, tr.internet, clientIP); err != nil || got != internetIP {
				t.Errorf("with --keep-inbound the client host sees %q, error %v", got, err)
			}
			if with.log.contains("will hang") {
				t.Errorf("a warning although the connection stays:\n%s", with.log.String())
			}
			check(t, tr.serve(tr.internet, ":"+portWho, sayWho))
			if got, err := ask(t.Context(), enough, tr.client, internetIP); err != nil || got != serverUplinkIP {
				t.Errorf("the internet host sees %q, error %v: its own connections must go through the tunnel", got, err)
			}
		})
	}
}
