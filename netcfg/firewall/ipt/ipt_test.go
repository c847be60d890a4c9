//go:build linux

package ipt

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

var policy = firewall.Policy{
	Interface: "tun0",
	Protect:   []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
	Forward: &firewall.Forward{
		Uplink: "eth0", Source: netip.MustParseAddr("192.0.2.2"), Source6: netip.MustParsePrefix("2001:db8::/96"),
	},
}

// onHost runs a test of each kind of iptables on a fresh host, which must look
// in the end as it looked after prepare.
func onHost(t *testing.T, prepare []string, test func(t *testing.T, fw *Firewall)) {
	for _, kind := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			netlabtest.Need(t, kind)
			host := netlabtest.Host(t, netlabtest.New(t), "host")
			for _, rule := range prepare {
				runIptables(t, host, kind, rule)
			}
			netlabtest.Unchanged(t, host)
			if err := host.Do(func() error { test(t, New(kind)); return nil }); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func runIptables(t *testing.T, h *netlab.Host, kind, rule string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", kind+" "+rule)
	if out, err := h.CombinedOutput(cmd); err != nil {
		t.Fatalf("%s: %v: %s", cmd, err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Rules of others that look like ours stay. (The mark has to be the whole
// comment.)
func TestOwnsOnlyItsOwn(t *testing.T) {
	foreign := []string{
		"-A FORWARD -i tun0 -o eth0 -j ACCEPT",
		"-A FORWARD -i tun0 -o eth0 -m comment --comment 'not dsvpn-tun0' -j ACCEPT",
		"-A FORWARD -i tun0 -o eth0 -m comment --comment 'dsvpn' -j ACCEPT",
		"-A FORWARD -i tun0 -o eth0 -m comment --comment 'dsvpn-tun0 too' -j ACCEPT",
		"-t raw -A PREROUTING -m comment --comment 'with \"quotes\" and --comment dsvpn-tun0' -j ACCEPT",
		"-t nat -A POSTROUTING -o eth0 -s 192.0.2.2 -j MASQUERADE",
		"-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER",
	}
	onHost(t, foreign, func(t *testing.T, fw *Firewall) {
		must(t, fw.Install(policy))
		other := policy
		other.Interface = "tun00"
		must(t, fw.Install(other))
		must(t, fw.Remove("tun0"))
		if intact, err := fw.Intact(other); err != nil || !intact {
			t.Errorf("the policy of the other interface: intact %v, error %v", intact, err)
		}
		must(t, fw.Remove("tun00"))
		must(t, fw.Remove("tun"))
	})
}

// The kernel takes almost any byte in the name of an interface, but spaces.
func TestOddNames(t *testing.T) {
	onHost(t, nil, func(t *testing.T, fw *Firewall) {
		for _, name := range []string{"a\\#é", `q"u'o\te`, "-i", "!", "x*", "tun+0"} {
			odd := policy
			odd.Interface = name
			must(t, fw.Install(odd))
			if intact, err := fw.Intact(odd); err != nil || !intact {
				t.Errorf("%q: intact %v, error %v", name, intact, err)
			}
			must(t, fw.Remove(name))
		}
		wild := policy
		wild.Interface = "tun+"
		if err := fw.Install(wild); err == nil || !strings.Contains(err.Error(), "tun+") {
			t.Errorf("an interface that would match others: error %v", err)
		}
	})
}

// Whatever part of a policy a killed process has written is found and removed,
// and Install replaces it.
func TestPartOfAPolicy(t *testing.T) {
	onHost(t, []string{"-P FORWARD DROP"}, func(t *testing.T, fw *Firewall) {
		p, err := fw.choose()
		must(t, err)
		all := rules(policy, ipv4)
		for n := range all {
			must(t, p.v4.insert(all[n:], firewall.Mark("tun0")))
			if intact, err := fw.Intact(policy); err != nil || intact {
				t.Errorf("%d rules: intact %v, error %v", len(all)-n, intact, err)
			}
			if n%2 == 0 {
				must(t, fw.Install(policy))
			}
			must(t, fw.Remove("tun0"))
		}
	})
}

// A rule that the kernel does not take is an error, and nothing of the policy
// stays.
func TestInstallFails(t *testing.T) {
	onHost(t, []string{"-P FORWARD DROP"}, func(t *testing.T, fw *Firewall) {
		bad := policy
		bad.Forward = &firewall.Forward{Uplink: "a name that is too long", Source: policy.Forward.Source}
		if err := fw.Install(bad); err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("error %v", err)
		}
	})
}

// Looking for rules of ours makes no legacy tables, which nobody could remove.
func TestNoLegacyTables(t *testing.T) {
	host := netlabtest.Host(t, netlabtest.New(t), "host")
	must(t, host.Do(func() error {
		fw := New("iptables-nft")
		must(t, fw.Install(policy))
		_, err := fw.Owned()
		must(t, err)
		_, err = fw.Neighbours()
		must(t, err)
		must(t, fw.Remove("tun0"))
		names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
		if len(names) > 0 {
			t.Errorf("there are legacy tables now: %s", names)
		}
		return err
	}))
}

func TestSplit(t *testing.T) {
	for line, want := range map[string][]string{
		`-A FORWARD -i tun0 ! -o eth0 -j DROP`:         {"-A", "FORWARD", "-i", "tun0", "!", "-o", "eth0", "-j", "DROP"},
		`-A X -m comment --comment "a \"b\" c" -j Y`:   {"-A", "X", "-m", "comment", "--comment", `a "b" c`, "-j", "Y"},
		`-A X -i a ! -s 10.0.0.0/8`:                    {"-A", "X", "-i", "a", "!", "-s", "10.0.0.0/8"},
		`-A X ! -s 1.2.3.4/32 -i tun0 -m mark -j DROP`: {"-A", "X", "!", "-s", "1.2.3.4/32", "-i", "tun0", "-m", "mark", "-j", "DROP"},
	} {
		if got := split(line); !slices.Equal(got, want) {
			t.Errorf("split(%s) = %q, want %q", line, got, want)
		}
	}
}

// In a container there may be legacy tables that it must not look at: that is
// no reason to fail, but one to warn.
func TestLegacyOutOfReach(t *testing.T) {
	netlabtest.Need(t, "iptables-legacy", "setpriv", "unshare")
	program, err := exec.LookPath("iptables-legacy")
	must(t, err)
	for name, contained := range map[string]string{
		"no CAP_NET_RAW": "exec setpriv --bounding-set -net_raw --inh-caps -net_raw " + program + ` "$@"`,
		"read-only /run": `exec unshare --mount sh -c 'mount -t tmpfs -o ro none /run; exec "$0" "$@"' ` + program + ` "$@"`,
	} {
		t.Run(name, func(t *testing.T) {
			host := netlabtest.Host(t, netlabtest.New(t), "host")
			runIptables(t, host, program, "-P FORWARD DROP")
			netlabtest.Unchanged(t, host)
			bin := t.TempDir()
			must(t, os.WriteFile(filepath.Join(bin, "iptables-legacy"), []byte("#!/bin/sh\n"+contained+"\n"), 0o755))
			t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			must(t, host.Do(func() error {
				if chains, err := (legacy{}).Neighbours(); err == nil {
					t.Errorf("no warning, but %v", chains)
				}
				_, err := legacy{}.Owned()
				return errors.Join(err, legacy{}.Install(policy), legacy{}.Remove("tun0"))
			}))
		})
	}
}

// A rule as iptables prints it is taken apart into the words that it was made
// of, whatever they are.
func FuzzPrintedRule(f *testing.F) {
	f.Add("FORWARD", `dsvpn-tun0`)
	f.Add("DOCKER-USER", `a "quoted" word, and a \ besides`)
	f.Fuzz(func(t *testing.T, chain, comment string) {
		markOf(comment) // of no form at all
		if strings.ContainsFunc(chain+comment, func(r rune) bool { return r < ' ' }) || chain == "" ||
			strings.ContainsFunc(chain, func(r rune) bool { return r == '"' || unicode.IsSpace(r) }) || !utf8.ValidString(chain+comment) {
			return // iptables takes no such name, and prints no such character
		}
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(comment)
		words := split(`-A ` + chain + ` -m comment --comment "` + quoted + `" -j ACCEPT`)
		if want := []string{"-A", chain, "-m", "comment", "--comment", comment, "-j", "ACCEPT"}; !slices.Equal(words, want) {
			t.Errorf("%q, want %q", words, want)
		}
	})
}
