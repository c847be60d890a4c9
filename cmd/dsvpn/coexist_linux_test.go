package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/firewall/ipt"
	"dsvpn/netcfg/firewall/nft"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// guestIP is the address of a container that the server's host forwards for.
const guestIP = "172.17.0.2"

// addGuest adds a host behind the server, as a container is, and makes its
// network and that of the tunnel known to the internet: nothing but the
// server's packet filters keeps the internet from connecting to them.
func addGuest(t *testing.T, tr *trial) *netlab.Host {
	t.Helper()
	guest := netlabtest.Host(t, tr.lab, "guest")
	inside := netip.MustParsePrefix("172.17.0.1/16")
	check(t, tr.lab.Cable(
		netlab.End{Host: tr.server, Interface: "docker0", Addrs: []netip.Prefix{inside}},
		netlab.End{Host: guest, Interface: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix(guestIP + "/16")}}))
	check(t, guest.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), inside.Addr()))
	server := netip.MustParseAddr(serverUplinkIP)
	check(t, tr.internet.AddRoute(inside.Masked(), server))
	check(t, tr.internet.AddRoute(netip.MustParsePrefix(clientTunnelIP+"/32"), server))
	check(t, tr.server.SetSysctl("net.ipv4.ip_forward", "1"))
	serveCaller(t, tr, guest, guestIP)
	serveCaller(t, tr, tr.internet, internetIP)
	return guest
}

// Beside every other firewall, with every kind of ours, the tunnel forwards
// what it should and no more; the other firewall lets pass what it did before,
// and no more, while the tunnel is up and afterwards; and its rules are the
// same in the end.
func TestCoexistence(t *testing.T) {
	for _, n := range neighbours {
		for _, kind := range []string{"nft", "iptables-nft", "iptables-legacy"} {
			t.Run(n.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				n.need(t)
				tr := newTestTrial(t)
				guest := addGuest(t, tr)
				n.start(t, tr.server)
				neighbourWorks := func() {
					t.Helper()
					if _, err := caller(t, guest, internetIP, patience); err != nil {
						t.Errorf("the guest does not reach the internet: %v", err)
					}
					wantNoAnswer(t, tr.internet, guestIP)
				}
				neighbourWorks()
				netlabtest.Unchanged(t, tr.server)

				flag := "--firewall=nft"
				if kind != "nft" {
					useIptables(t, tr, kind)
					flag = "--firewall=iptables"
				}
				server, client := startServer(t, tr, flag), startClient(t, tr)
				wantCaller(t, tr.client, internetIP, serverUplinkIP)
				serveCaller(t, tr, tr.client, clientTunnelIP)
				wantNoAnswer(t, tr.internet, clientTunnelIP)
				neighbourWorks()
				wantReadable(t, tr.server)

				check(t, client.stop(syscall.SIGTERM))
				check(t, server.stop(syscall.SIGTERM))
				neighbourWorks()
			})
		}
	}
}

// wantReadable fails the test unless the neighbours can list their rules with
// their own programs, and see whose the guests are.
func wantReadable(t *testing.T, h *netlab.Host) {
	t.Helper()
	ruleset := sh(t, h, "nft list ruleset")
	if strings.Contains(ruleset, "table ip filter") {
		if out := sh(t, h, "iptables-nft -S FORWARD"); strings.Contains(out, "DROP") && !strings.Contains(out, "dsvpn-tun0") {
			t.Errorf("nothing of ours in iptables -S:\n%s\nnft list ruleset:\n%s", out, ruleset)
		}
	}
}

// A neighbour that loads its rules anew may wipe ours. That is noticed, put
// right again, and leaves no trace.
func TestNeighbourReloads(t *testing.T) {
	policy := firewall.Policy{
		Interface: "tun0",
		Protect:   []netip.Addr{netip.MustParseAddr(serverTunnelIP), netip.MustParseAddr(serverTunnelIP6)},
		Forward: &firewall.Forward{
			Uplink: "uplink", Source: netip.MustParseAddr(clientTunnelIP), Source6: netip.MustParsePrefix("64:ff9b::/96"),
		},
	}
	for _, n := range neighbours {
		for kind, fw := range map[string]firewall.Firewall{
			"nft":             ipt.BesideLegacy(nft.Firewall{}),
			"iptables-nft":    ipt.New("iptables-nft"),
			"iptables-legacy": ipt.New("iptables-legacy"),
		} {
			if n.daemon && kind != "nft" {
				continue // takes its time, and adds nothing to its likes
			}
			t.Run(n.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				n.need(t)
				tr := newTestTrial(t)
				addGuest(t, tr)
				reload := n.start(t, tr.server)
				reload()
				netlabtest.Unchanged(t, tr.server)
				on := func(f func() error) { t.Helper(); check(t, tr.server.Do(f)) }
				intact := func() (is bool) {
					t.Helper()
					on(func() (err error) { is, err = fw.Intact(policy); return err })
					return is
				}
				if intact() {
					t.Error("intact, and never installed")
				}
				on(func() error { return fw.Install(policy) })
				if !intact() {
					t.Error("installed, and not intact")
				}
				reload()
				if intact() == n.wipes {
					t.Errorf("after a reload intact is %v", !n.wipes)
				}
				for range 2 { // once more does no harm
					on(func() error { return fw.Install(policy) })
					if !intact() {
						t.Error("installed again, and not intact")
					}
				}
				on(func() error { return fw.Remove(policy.Interface) })
				on(func() error {
					owned, err := fw.Owned()
					if len(owned) > 0 {
						t.Errorf("removed, and still owned: %q", owned)
					}
					return err
				})
			})
		}
	}
}

// Without ip6tables a server cannot keep IPv6 from passing, and says so instead
// of starting; left alone, IPv6 is no hindrance. A client has no need of it.
func TestIPTablesWithoutIPv6(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "iptables-nft")
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	path, err := exec.LookPath("iptables-nft")
	check(t, err)
	bin := t.TempDir()
	check(t, os.Symlink(path, filepath.Join(bin, "iptables")))
	tr.env = append(os.Environ(), "PATH="+bin)

	_, err = tr.startServer("--firewall=iptables")
	if err == nil || !strings.Contains(err.Error(), "IPv6 cannot be filtered") || !strings.Contains(err.Error(), "--ipv6 off") {
		t.Errorf("server: error %v", err)
	}
	startServer(t, tr, "--firewall=iptables", "--ipv6=off")
	client := startClient(t, tr, "--firewall=iptables")
	if !client.log.contains("without IPv6: ") {
		t.Errorf("the client does not say that IPv6 is not filtered:\n%s", client.log.String())
	}
	serveCaller(t, tr, tr.internet, internetIP)
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
}

// Legacy rules that nobody can look at, since the program for them is missing,
// are no reason not to start, but one to say so.
func TestLegacyRulesOutOfReach(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "iptables-legacy")
	tr := newTestTrial(t)
	sh(t, tr.server, "iptables-legacy -A FORWARD -i nonesuch -j DROP")
	wantHostsUnchanged(t, tr)
	tr.env = append(os.Environ(), "PATH="+t.TempDir())

	const warning = "iptables-legacy, is not installed"
	cmd := exec.Command(tr.exe, "check", "server")
	cmd.Env = tr.env
	out, err := tr.server.CombinedOutput(cmd)
	if err != nil || !strings.Contains(string(out), warning) || !strings.Contains(string(out), "firewall: nft (works over netlink)") {
		t.Errorf("check: %v, want a warning with %q:\n%s", err, warning, out)
	}
	if server := startServer(t, tr); !server.log.contains(warning) {
		t.Errorf("the server does not warn of %q:\n%s", warning, server.log.String())
	}
}
