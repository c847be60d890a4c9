package netcfg

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dsvpn/netcfg/dns"
)

func TestNeeds(t *testing.T) {
	state := func(c *Config) { c.StateDir = "/run/here" }
	basic := Needs{StateDir: "/run/here", Writes: []string{"/proc/sys/net"}}
	iptables, hooks, file := basic, basic, basic
	iptables.Iptables, hooks.Hooks, file.Writes = true, true, []string{"/proc/sys/net", "/etc"}
	for name, tt := range map[string]struct {
		cfg    Config
		action Action
		want   Needs
	}{
		"client":               {config(Client, state), InstallFirewall{Kind: FirewallNFT}, basic},
		"client with iptables": {config(Client, state), InstallFirewall{Kind: FirewallIPTables}, iptables},
		"resolved":             {config(Client, state), SetDNS{dns.Setting{Way: dns.Resolved}}, basic},
		"resolvconf":           {config(Client, state), SetDNS{dns.Setting{Way: dns.Resolvconf}}, hooks},
		"resolv.conf":          {config(Client, state), SetDNS{dns.Setting{Way: dns.File}}, file},
		"server":               {config(Server, state), InstallFirewall{Kind: FirewallNFT}, iptables},
		"server without rules": {config(Server, state, func(c *Config) { c.Firewall = FirewallNone }), SetUp{}, basic},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Plan{Steps: []Step{{Action: tt.action}}}.Needs(tt.cfg)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
