package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
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
	check(t, tr.serve(tr.internet, ":"+portWho, func(c net.Conn) error {
		_, err := fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		return err
	}))
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
			if got, err = ask(t.Context(), tr.client, target); err == nil && got == want {
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
func ask(ctx context.Context, from *netlab.Host, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := from.Dial(ctx, "tcp", net.JoinHostPort(host, portWho))
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}
