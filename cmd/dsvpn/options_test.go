package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dsvpn/netcfg"
)

// byValue lets cmp look into addresses.
var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestParseOptions(t *testing.T) {
	const client, server = netcfg.Client, netcfg.Server
	key := func(o *options) { o.KeyFile = "k" }
	peer := func(o *options) { o.KeyFile, o.Server = "k", "vpn.example" }

	tests := []struct {
		name string
		role netcfg.Role
		args string // separated by spaces; '' is an empty one
		env  environment
		want func(*options) // applied to the defaults
	}{
		{"bare server", server, "k", nil, key},
		{"bare client", client, "k vpn.example", nil, peer},
		{"auto everywhere", server, "k auto auto auto auto auto auto", nil, key},
		{"empty everywhere", client, "k vpn.example '' '' '' '' ''", nil, peer},
		{"server words", server, "k ::1 1194 tun7 10.0.0.1 10.0.0.2 eth1", nil, func(o *options) {
			o.KeyFile, o.Address, o.Port, o.External = "k", "::1", 1194, "eth1"
			o.Net.Interface = "tun7"
			o.Net.Local, o.Net.Remote = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
		}},
		{"client words", client, "k vpn.example https tun7 10.0.0.2 10.0.0.1 10.9.9.9", nil, func(o *options) {
			peer(o)
			o.External = "10.9.9.9"
			o.Net.Interface = "tun7"
			o.Net.Local, o.Net.Remote = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
		}},
		{"junk last", server, "k auto auto auto auto auto %#!", nil, func(o *options) { key(o); o.External = "%#!" }},
		{"brackets", client, "k [2001:db8::1]", nil, func(o *options) { key(o); o.Server = "2001:db8::1" }},
		{"zone", client, "k fe80::1%eth0", nil, func(o *options) { key(o); o.Server = "fe80::1%eth0" }},
		{"name to listen on", server, "k localhost", nil, func(o *options) { key(o); o.Address = "localhost" }},

		{"flags first", client, "--mtu 1400 --dry-run k vpn.example", nil, func(o *options) { peer(o); o.Net.MTU = 1400; o.DryRun = true }},
		{"flags last", client, "k vpn.example --mtu 1400 --dry-run", nil, func(o *options) { peer(o); o.Net.MTU = 1400; o.DryRun = true }},
		{"flags between", client, "k --mtu=1400 vpn.example --dry-run", nil, func(o *options) { peer(o); o.Net.MTU = 1400; o.DryRun = true }},
		{"a flag twice", server, "k --mtu 1400 --mtu 1300", nil, func(o *options) { key(o); o.Net.MTU = 1300 }},
		{"a flag without effect", server, "k --mtu auto --ipv6= --dry-run=off", nil, key},
		{"dashes end the flags", server, "-- --mtu -", nil, func(o *options) { o.KeyFile, o.Address = "--mtu", "-" }},

		{"every flag", client, "k vpn.example --point-to-point --firewall none --mark 0xCAFE --table 77 --rule-priority 088" +
			" --mtu 68 --congestion cubic --ipv6 off --tunnel6 fd00::1:2:3:4/96 --reconnect-limit 5 --timeout 1m30s --log-level DEBUG" +
			" --log-format json --dry-run", nil, func(o *options) {
			peer(o)
			o.Net.PointToPoint = true
			o.Net.Firewall = netcfg.FirewallNone
			o.Net.Mark, o.Net.Table, o.Net.RulePriority = 0xcafe, 77, 88
			o.Net.MTU, o.Net.Congestion, o.Net.IPv6 = 68, "cubic", netcfg.IPv6Off
			o.Net.Prefix6 = netip.MustParsePrefix("fd00::1:2:0:0/96")
			o.Timeout = 90 * time.Second
			o.ReconnectLimit, o.LogLevel, o.LogFormat, o.DryRun = 5, slog.LevelDebug, logJSON, true
		}},
		{"dns", client, "k vpn.example --dns 10.0.0.1", nil, func(o *options) { peer(o); o.Net.DNS = nameServers("10.0.0.1") }},
		{"dns list", client, "k vpn.example --dns 10.0.0.1,::ffff:10.0.0.2 --dns=fd00::1", nil, func(o *options) {
			peer(o)
			o.Net.DNS = nameServers("10.0.0.1", "10.0.0.2", "fd00::1")
		}},
		{"dns auto", client, "k vpn.example --dns auto", environment{"DSVPN_DNS": "10.0.0.1"}, func(o *options) { peer(o); o.Net.DNS = nameServers("10.0.0.1") }},
		{"dns for the other end", server, "k --point-to-point", environment{"DSVPN_DNS": "10.0.0.1"}, func(o *options) {
			key(o)
			o.Net.PointToPoint, o.Net.DNS = true, nameServers("10.0.0.1")
		}},
		{"congestion none", client, "k vpn.example --congestion none", nil, func(o *options) { peer(o); o.Net.Congestion = "" }},

		{"environment alone", client, "", environment{"DSVPN_KEY_FILE": "k", "DSVPN_SERVER": "vpn.example", "DSVPN_PORT": "1194",
			"DSVPN_TUN": "tun7", "DSVPN_LOCAL": "10.0.0.2", "DSVPN_REMOTE": "10.0.0.1", "DSVPN_GATEWAY": "g", "DSVPN_MARK": "0x1",
			"DSVPN_POINT_TO_POINT": "yes"}, func(o *options) {
			peer(o)
			o.Port, o.External = 1194, "g"
			o.Net.Interface, o.Net.Mark, o.Net.PointToPoint = "tun7", 1, true
			o.Net.Local, o.Net.Remote = netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
		}},
		{"a word beats the environment", server, "k auto 80", environment{"DSVPN_PORT": "1194"}, func(o *options) { key(o); o.Port = 80 }},
		{"auto does not", server, "k auto auto", environment{"DSVPN_PORT": "1194"}, func(o *options) { key(o); o.Port = 1194 }},
		{"auto there is the default", server, "k", environment{"DSVPN_PORT": "auto", "DSVPN_MTU": ""}, key},
		{"a flag beats the environment", server, "k --point-to-point=false", environment{"DSVPN_POINT_TO_POINT": "1"}, key},
		{"variables of the other role", server, "k", environment{"DSVPN_SERVER": "two words", "DSVPN_GATEWAY": "g"}, key},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			for i, a := range args {
				args[i] = strings.Trim(a, "'")
			}
			want := defaultOptions(tt.role, runtime.GOOS)
			tt.want(&want)
			want.Net.Port = want.Port
			got, err := parseOptions(tt.role, args, tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, byValue); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}

func nameServers(list ...string) (addrs []netip.Addr) {
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func TestDefaults(t *testing.T) {
	server, client := defaultOptions(netcfg.Server, "linux"), defaultOptions(netcfg.Client, "linux")
	if s, c := server.Net, client.Net; s.Local != c.Remote || s.Remote != c.Local || s.Local.String() != "192.168.192.254" {
		t.Errorf("server %s to %s, client %s to %s", s.Local, s.Remote, c.Local, c.Remote)
	}
	if got := server.Net.Local6().String(); got != "64:ff9b::c0a8:c0fe" {
		t.Errorf("IPv6 address of the server is %s", got)
	}
	if client.Port != 443 || client.Net.MTU != 9000 || client.Net.Mark != 42069 || client.Net.Table != 42069 {
		t.Errorf("defaults are not those of the C program: %+v", client)
	}
	if l, d := client.Net.StateDir, defaultOptions(netcfg.Client, "darwin").Net.StateDir; l != "/run/dsvpn" || d != "/var/run/dsvpn" {
		t.Errorf("state directories are %s and %s", l, d)
	}
	if got := defaultOptions(netcfg.Client, "netbsd").Net.MTU; got != 1500 {
		t.Errorf("MTU on NetBSD is %d", got)
	}
}

// The usage is written by hand; what it must not do is lie.
func TestUsageIsComplete(t *testing.T) {
	for role, text := range map[netcfg.Role]string{netcfg.Server: serverUsage, netcfg.Client: clientUsage} {
		for _, o := range wordsOf(role) {
			for _, part := range []string{"\n    " + o.name + " ", o.env} {
				if !strings.Contains(text, part) {
					t.Errorf("usage of the %v does not mention %q", role, part)
				}
			}
		}
		for _, f := range flags {
			if !strings.Contains(text, "\n    "+f.name+" ") {
				t.Errorf("usage of the %v does not mention %s", role, f.name)
			}
		}
		for _, f := range hiddenFlags {
			if strings.Contains(text, f.name) || f.env != "" {
				t.Errorf("%s is not hidden from users of the %v", f.name, role)
			}
		}
		o := defaultOptions(role, "linux")
		for _, value := range []any{o.Port, o.Net.Local, o.Net.Remote, o.Net.MTU, o.Net.IPv6, o.Net.Firewall, o.Net.Mark,
			o.Net.Table, o.Net.RulePriority, o.Net.Congestion, o.Net.Prefix6, o.Timeout} {
			if part := fmt.Sprintf("(%v", value); !strings.Contains(text, part) {
				t.Errorf("usage of the %v does not mention the default %q", role, part)
			}
		}
	}
	for _, c := range commands() {
		if !strings.Contains(c.synopsis(), "DSVPN") || !strings.Contains(usage, "\n    dsvpn "+c.name) {
			t.Errorf("%s: the usage does not say enough", c.name)
		}
		for line := range strings.Lines(c.usage) {
			if len(line) > 82 || strings.Contains(line, "\t") {
				t.Errorf("%s: this line is wide or has a tab: %q", c.name, line)
			}
		}
	}
}

// FuzzOptions takes an environment and a command line, both of words with zero
// bytes between them.
func FuzzOptions(f *testing.F) {
	for _, seed := range [][2]string{
		{"", "k\x00vpn.example\x00443\x00tun0\x0010.0.0.1\x0010.0.0.2\x00junk"},
		{"DSVPN_SERVER=[::1]\x00DSVPN_MTU=1400", "--mark=0x10\x00k\x00--\x00-"},
		{"DSVPN_KEY_FILE=k", "--tunnel6\x00fd00::/96\x00--ipv6\x00tunnel\x00--congestion\x00none\x00--log-level\x00debug"},
		{"", "k\x00fe80::1%eth0\x00https\x00--table\x00254\x00--rule-priority\x00-1\x00--point-to-point=no"},
	} {
		f.Add(true, seed[0], seed[1])
		f.Add(false, seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, isServer bool, environ, line string) {
		role := netcfg.Client
		if isServer {
			role = netcfg.Server
		}
		env := parseEnviron(strings.Split(environ, "\x00"))
		o, err := parseOptions(role, strings.Split(line, "\x00"), env)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("error would reach the terminal raw: %q", err)
			}
			return
		}
		checkOptions(t, role, o)
	})
}

// checkOptions checks what all below this package may rely on.
func checkOptions(t *testing.T, role netcfg.Role, o options) {
	t.Helper()
	n := o.Net
	for what, ok := range map[string]bool{
		"role":           n.Role == role,
		"key file":       o.KeyFile != "",
		"server":         (o.Server != "") == (role == netcfg.Client),
		"port":           o.Port > 0,
		"interface":      n.Interface != "" && len(n.Interface) <= 15 && !strings.ContainsAny(n.Interface, "/ \n\x00%"),
		"addresses":      n.Local.Is4() && n.Remote.Is4() && n.Local != n.Remote,
		"prefix":         n.Prefix6.Bits() == 96 && n.Prefix6.Addr().Is6() && n.Prefix6 == n.Prefix6.Masked() && n.Local6() != n.Remote6(),
		"mtu":            n.MTU >= 68 && n.MTU <= 65535 && (n.IPv6 != netcfg.IPv6Tunnel || n.MTU >= 1280),
		"mark":           n.Mark != 0,
		"table":          n.Table > 0 && (n.Table < 253 || n.Table > 255),
		"rule priority":  n.RulePriority > 0 && n.RulePriority+1 < 32766,
		"firewall":       slices.Contains([]netcfg.FirewallKind{netcfg.FirewallAuto, netcfg.FirewallNFT, netcfg.FirewallIPTables, netcfg.FirewallNone}, n.Firewall),
		"ipv6":           slices.Contains([]netcfg.IPv6Mode{netcfg.IPv6Block, netcfg.IPv6Tunnel, netcfg.IPv6Off}, n.IPv6),
		"congestion":     len(n.Congestion) <= 15 && !strings.ContainsAny(n.Congestion, "./ \n\x00"),
		"hosts":          !strings.ContainsAny(o.Server+o.Address, " /[]\n\x00"),
		"timeout":        o.Timeout >= minTimeout && o.Timeout <= maxTimeout,
		"attempts":       o.ReconnectLimit >= 0,
		"log format":     o.LogFormat == logText || o.LogFormat == logJSON,
		"state folder":   n.StateDir != "",
		"name servers":   !slices.ContainsFunc(n.DNS, func(a netip.Addr) bool { return !a.IsValid() || a.Zone() != "" }),
		"uplink unasked": n.Uplink == "",
	} {
		if !ok {
			t.Errorf("%s is wrong in %+v", what, o)
		}
	}
}
