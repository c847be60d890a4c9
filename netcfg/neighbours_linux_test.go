package netcfg

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/netlab/netlabtest"
)

// crowded is a host where every kind of neighbour may drop what is forwarded.
const crowded = `
iptables-nft -P FORWARD DROP
iptables-nft -N DOCKER-USER
iptables-nft -A FORWARD -j DOCKER-USER
ip6tables-nft -A FORWARD -j REJECT
iptables-legacy -A FORWARD -j REJECT
ip6tables-legacy -P FORWARD DROP
nft -f - <<'END'
table inet fw {
	chain forward {
		type filter hook forward priority 10;
		ct state vmap { established : accept, invalid : drop }
	}
	chain leads { type filter hook forward priority 20; jump away; }
	chain away { ct state new goto further; }
	chain further { meta l4proto udp drop; }
	chain round { type filter hook forward priority 30; jump about; }
	chain about { counter; }
	chain mangle { type filter hook forward priority mangle; tcp flags syn tcp option maxseg size set rt mtu; }
	chain input { type filter hook input priority 0; policy drop; }
}
table bridge fw {
	chain forward { type filter hook forward priority 0; policy drop; }
}
END
`

// crowd makes the current thread's host crowded.
func crowd(t *testing.T) {
	t.Helper()
	netlabtest.Need(t, "nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy", "sh")
	if out, err := exec.Command("sh", "-e", "-c", crowded).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// servers are the ways to be a server on a crowded host.
func servers(t *testing.T) map[string]Config {
	all := ways(t)
	for name, cfg := range all {
		if cfg.Role != Server {
			delete(all, name)
		}
	}
	return all
}

// Guests go where something may be dropped, and nowhere else: not into chains
// that only mark and count, nor into those that routed packets never see.
func TestNeighbours(t *testing.T) {
	on(t, newHost(t), func() {
		crowd(t)
		common := []string{"inet fw forward", "inet fw leads", "ip filter DOCKER-USER"}
		newer := []string{"ip filter FORWARD", "ip6 filter FORWARD"}
		older := []string{"ip filter FORWARD (legacy)", "ip6 filter FORWARD (legacy)"}
		for kind, want := range map[FirewallKind][]string{
			FirewallNFT:    slices.Concat(common, newer, older),
			iptablesNFT:    slices.Concat(common, older),
			iptablesLegacy: slices.Concat(common, newer),
		} {
			found, err := firewalls[kind].Neighbours()
			must(t, err)
			var got []string
			for _, c := range found {
				got = append(got, firewall.Chain.String(c))
			}
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("%s: neighbours %q, want %q", kind, got, want)
			}
		}
	})
}

// On a crowded host, too: what is printed makes the state that Apply makes,
// Undo takes it back, a kill leaves nothing that a sweep does not find, not
// even where our own table is gone and the guests are not.
func TestCrowdedHost(t *testing.T) {
	for name, cfg := range servers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var applied string
			on(t, newHost(t), func() {
				crowd(t)
				before := snapshot(t)
				dev, a := up(t, cfg)
				applied = snapshot(t)
				must(t, a.Undo())
				closeTun(t, dev, cfg.Interface)
				same(t, "after Undo", before, snapshot(t))

				dev, _ = up(t, cfg)
				exec.Command("nft", "delete table inet dsvpn-tun0").Run() // there is none with iptables
				closeTun(t, dev, cfg.Interface)
				_, err := Sweep("", Plan{}, cfg.StateDir)
				must(t, err)
				same(t, "after the sweep", before, snapshot(t))
			})
			on(t, newHost(t), func() {
				crowd(t)
				dev := openTun(t, cfg.Interface)
				defer dev.Close()
				cmd := exec.Command("sh", "-e", "-c", planFor(t, cfg).String())
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				same(t, "applied, and typed", applied, snapshot(t))
			})
		})
	}
}

// A firewall that is swept by one kind may have been made by another.
func TestSweepOfEveryKind(t *testing.T) {
	on(t, newHost(t), func() {
		crowd(t)
		before := snapshot(t)
		all := servers(t)
		for _, name := range []string{"server-tunnel6", "server-iptables-nft", "server-iptables-legacy"} {
			cfg := all[name]
			for kind, fw := range firewalls {
				dev, _ := up(t, cfg)
				must(t, fw.Remove(cfg.Interface))
				if got := snapshot(t); strings.Contains(got, "dsvpn") {
					t.Errorf("%s, removed by %s, leaves:\n%s", name, kind, added(before, got))
				}
				closeTun(t, dev, cfg.Interface)
				_, err := Sweep("", Plan{}, cfg.StateDir)
				must(t, err)
			}
		}
		same(t, "after all", before, snapshot(t))
	})
}
