package netcfg

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/link"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -update writes it)", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("differs from %s (-want +got):\n%s", path, diff)
	}
}

// config is what the command line gives without any option.
func config(role Role, change ...func(*Config)) Config {
	c := Config{
		Role: role, Interface: "tun0", MTU: DefaultMTU,
		Local: DefaultClientAddr, Remote: DefaultServerAddr, Prefix6: DefaultPrefix6,
		Firewall: FirewallAuto, IPv6: IPv6Block,
		Mark: DefaultMark, Table: DefaultTable, RulePriority: DefaultRulePriority, Congestion: "bbr",
	}
	if role == Server {
		c.Local, c.Remote = c.Remote, c.Local
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// facts are those of an ordinary host behind eth0.
func facts(change ...func(*Facts)) Facts {
	f := Facts{
		Interfaces: []link.Interface{
			{Name: "lo", Addrs: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}},
			{Name: "eth0", Addrs: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24")}},
		},
		Uplinks: []link.Uplink{{Family: link.IPv4, Interface: "eth0", Gateway: netip.MustParseAddr("192.0.2.1")}},
		HasIPv6: true, NewIPv6: true,
		Firewalls: []FirewallFact{{Kind: FirewallNFT, Means: "over netlink"}},
		Sysctls: map[string]SysctlFact{
			sysctlForward:    {"0", true},
			sysctlCongestion: {"cubic", true},
			sysctlValidMark:  {"0", true},
		},
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

func pointToPoint(c *Config) { c.PointToPoint = true }
func keepClosed(c *Config)   { c.KeepClosed = true }
func tunnel6(c *Config)      { c.IPv6 = IPv6Tunnel }
func off6(c *Config)         { c.IPv6 = IPv6Off }
func noFirewall(c *Config)   { c.Firewall = FirewallNone }
func smallMTU(c *Config)     { c.MTU = 1200 }
func noUplink(f *Facts)      { f.Uplinks = nil }
func noIPv6(f *Facts)        { f.HasIPv6, f.NewIPv6 = false, false }
func disabledIPv6(f *Facts)  { f.NewIPv6 = false }
func noNFT(f *Facts)         { f.Firewalls[0].Err = errors.New("operation not supported") }
func iptables(c *Config)     { c.Firewall = FirewallIPTables }
func onlyIPTables(f *Facts) {
	noNFT(f)
	f.Firewalls = append(f.Firewalls, FirewallFact{Kind: FirewallIPTables, Means: "by iptables and ip6tables (legacy)"})
}
func neighbours(f *Facts) {
	f.Firewalls[0].Neighbours = []firewall.Chain{
		{Family: "ip", Table: "filter", Name: "FORWARD"},
		{Family: "ip6", Table: "filter", Name: "FORWARD"},
		{Family: "inet", Table: "firewalld", Name: "filter_FORWARD"},
		{Family: "ip", Table: "filter", Name: "FORWARD", Legacy: true},
	}
	f.Firewalls[0].Unreached = errors.New("there are legacy iptables rules: for example")
}
func readOnlyOff(f *Facts) {
	f.Sysctls = map[string]SysctlFact{sysctlForward: {"0", false}, sysctlCongestion: {"cubic", false}}
}
func readOnlyOn(f *Facts) {
	f.Sysctls = map[string]SysctlFact{sysctlForward: {"1", false}, sysctlCongestion: {"bbr", false}}
}
func otherClient(f *Facts)  { f.Tables = []TableInUse{{DefaultTable, "tun7"}} }
func keepInbound(c *Config) { c.KeepInbound = true }
func otherTunnels(f *Facts) {
	f.Bypasses = []link.Bypass{{Family: link.IPv4, Mark: 51820}, {Family: link.IPv6, Mark: 51820}, {Family: link.IPv4, Mark: DefaultMark}}
}
func killSwitch(c *Config) {
	c.KillSwitch, c.Allowed = true, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
}
func fromAfar(c *Config)   { c.OperatorAddr = netip.MustParseAddr("203.0.113.7") }
func fromNear(c *Config)   { c.OperatorAddr = netip.MustParseAddr("192.0.2.7") }
func strict(f *Facts)      { f.StrictUplinks = []string{"eth0"} }
func uplinkEth9(c *Config) { c.Uplink = "eth9" }
func addr(p string) func(*Facts) {
	return func(f *Facts) { f.Interfaces[1].Addrs = append(f.Interfaces[1].Addrs, netip.MustParsePrefix(p)) }
}

func nameServers(list ...string) (addrs []netip.Addr) {
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}
func wantDNS(list ...string) func(*Config) {
	return func(c *Config) { c.DNS = nameServers(list...) }
}
func hasDNS(list ...string) func(*Facts) {
	return func(f *Facts) { f.DNS.Servers = nameServers(list...) }
}

// dnsBy makes a host with one way to set name servers.
func dnsBy(way dns.Way) func(*Facts) {
	return func(f *Facts) {
		f.DNSWays = []dns.WayFact{{Way: "other", Err: errors.New("not here")}, {Way: way}}
	}
}
func mountedDNS(f *Facts)  { f.DNS.InPlace = true }
func replacedDNS(f *Facts) { f.DNS.Replaced = true }

func TestMakePlan(t *testing.T) {
	tests := []struct {
		name  string
		cfg   Config
		facts Facts
		err   string // part of the error; empty: a golden file has the plan
	}{
		{"client", config(Client), facts(), ""},
		{"client-tunnel6", config(Client, tunnel6), facts(), ""},
		{"client-off6", config(Client, off6), facts(), ""},
		{"client-no-ipv6", config(Client), facts(noIPv6), ""},
		{"client-disabled-ipv6", config(Client), facts(disabledIPv6), ""},
		{"client-small-mtu", config(Client, smallMTU), facts(), ""},
		{"client-no-firewall", config(Client, noFirewall), facts(noNFT), ""},
		{"client-no-uplink", config(Client), facts(noUplink), ""},
		{"client-read-only", config(Client), facts(readOnlyOff), ""},
		{"client-overlap", config(Client), facts(addr("192.168.192.77/24")), ""},
		{"client-strict", config(Client), facts(strict), ""},
		{"client-strict-read-only", config(Client), facts(strict, readOnlyOff), ""},
		{"client-keep-inbound", config(Client, keepInbound, fromAfar), facts(), ""},
		{"client-keep-closed", config(Client, keepClosed), facts(), ""},
		{"client-beside-others", config(Client), facts(otherTunnels), ""},
		{"client-killswitch", config(Client, killSwitch), facts(), ""},
		{"", config(Client, killSwitch, noFirewall), facts(), "--kill-switch"},
		{"client-from-afar", config(Client, fromAfar), facts(), ""},
		{"client-from-near", config(Client, fromNear), facts(), ""},
		{"client-point-to-point", config(Client, pointToPoint), facts(noUplink, noNFT, readOnlyOff), ""},
		{"client-dns-resolved", config(Client, wantDNS("10.0.0.1")), facts(dnsBy(dns.Resolved), hasDNS("192.0.2.1")), ""},
		{"client-dns-resolvconf", config(Client, wantDNS("10.0.0.1", "10.0.0.2")), facts(dnsBy(dns.Resolvconf)), ""},
		{"client-dns-file", config(Client, wantDNS("10.0.0.1", "127.0.0.1")), facts(dnsBy(dns.File)), ""},
		{"client-dns-mount", config(Client, wantDNS("10.0.0.1")), facts(dnsBy(dns.File), mountedDNS), ""},
		{"client-dns-near", config(Client, wantDNS("192.0.2.1")), facts(dnsBy(dns.File)), ""},
		{"client-dns-tunnel6", config(Client, tunnel6, wantDNS("fd00::1")), facts(dnsBy(dns.File)), ""},
		{"client-dns-off6", config(Client, off6, wantDNS("fd00::1")), facts(dnsBy(dns.File)), ""},
		{"client-dns-replaced", config(Client), facts(hasDNS("198.51.100.53"), replacedDNS), ""},
		{"client-has-dns-near", config(Client), facts(hasDNS("192.0.2.1")), ""},
		{"client-has-dns-private", config(Client), facts(hasDNS("10.0.0.1", "100.64.0.1", "198.51.100.53")), ""},
		{"client-has-dns-stub", config(Client), facts(hasDNS("127.0.0.1")), ""},
		{"client-has-dns6", config(Client), facts(hasDNS("2001:db8::53")), ""},
		{"server-dns", config(Server, wantDNS("10.0.0.1")), facts(), ""},
		{"server", config(Server), facts(), ""},
		{"server-tunnel6", config(Server, tunnel6), facts(), ""},
		{"server-off6", config(Server, off6), facts(), ""},
		{"server-read-only", config(Server), facts(readOnlyOn), ""},
		{"server-no-firewall", config(Server, noFirewall), facts(noNFT), ""},
		{"server-point-to-point", config(Server, pointToPoint), facts(noUplink, noNFT, readOnlyOff), ""},

		{"client-iptables", config(Client), facts(onlyIPTables), ""},
		{"server-iptables", config(Server, iptables), facts(onlyIPTables), ""},
		{"server-iptables-tunnel6", config(Server, tunnel6), facts(onlyIPTables), ""},
		{"server-neighbours", config(Server), facts(neighbours), ""},
		{"server-neighbours-tunnel6", config(Server, tunnel6), facts(neighbours), ""},

		{"", config(Server, iptables), facts(), "no firewall can be programmed"},
		{"", config(Server), facts(noUplink), "no IPv4 default route"},
		{"", config(Server, uplinkEth9), facts(), "external interface eth9 does not exist"},
		{"", config(Server), facts(readOnlyOff), "--sysctl net.ipv4.ip_forward=1"},
		{"", config(Server), facts(noNFT), "nft: operation not supported"},
		{"", config(Client), facts(noNFT), "--firewall none"},
		{"", config(Client), facts(otherClient), "in use by the dsvpn client on tun7"},
		{"", config(Client), facts(addr("192.168.192.1/24")), "192.168.192.1 is in use on eth0"},
		{"", config(Server), facts(addr("192.168.192.1/24")), "192.168.192.1 is in use on eth0"},
		{"", config(Client, wantDNS("fd00::1")), facts(dnsBy(dns.File)), "use --ipv6 tunnel"},
		{"", config(Client, tunnel6, wantDNS("fd00::1")), facts(dnsBy(dns.File), noIPv6), "the tunnel has no IPv6"},
		{"", config(Client, wantDNS("10.0.0.1")), facts(func(f *Facts) {
			f.DNSWays = []dns.WayFact{{Way: dns.File, Err: errors.New("read-only file system")}}
		}), "file: read-only file system"},
	}
	for _, tt := range tests {
		t.Run(tt.name+tt.err, func(t *testing.T) {
			plan, err := MakePlan(tt.cfg, tt.facts)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text := plan.String()
			for _, s := range plan.Notes {
				text += fmt.Sprintln("note:", s)
			}
			for _, s := range plan.Warnings {
				text += fmt.Sprintln("warning:", s)
			}
			for _, s := range plan.NameServers {
				text += fmt.Sprintln("the client asks:", s)
			}
			golden(t, "plan/"+tt.name+".txt", text)
		})
	}
}
