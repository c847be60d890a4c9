package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestServers(t *testing.T) {
	const conf = `# nameserver 192.0.2.1
; nameserver 192.0.2.2
search lan
nameserver 192.0.2.3
  nameserver	2001:db8::1   # why
nameserver fe80::1%eth0
nameserver
nameserver nonsense
options nameserver
nameserver ::ffff:192.0.2.4`
	want := addrs("192.0.2.3", "2001:db8::1", "fe80::1%eth0", "192.0.2.4")
	if diff := cmp.Diff(texts(want), texts(servers([]byte(conf)))); diff != "" {
		t.Errorf("name servers (-want +got):\n%s", diff)
	}
}

// What we write is what we know again, and nothing else is.
func TestOwnFile(t *testing.T) {
	s := Setting{Way: File, Interface: "tun0", Servers: addrs("10.0.0.1", "fd00::1")}
	own := s.render()
	if !isOurs(own) {
		t.Errorf("this is not known again:\n%s", own)
	}
	if got := servers(own); len(got) != 2 || got[0] != s.Servers[0] || got[1] != s.Servers[1] {
		t.Errorf("name servers %v in\n%s", got, own)
	}
	for _, other := range []string{"", "\n", "# dsvpn \n", string(own) + "\n", "\n" + string(own), string(own[:len(own)-1]),
		strings.Replace(string(own), "10.0.0.1", "10.0.0.2", 1)} {
		if isOurs([]byte(other)) {
			t.Errorf("this passes for ours:\n%s", other)
		}
	}
}

func TestCommands(t *testing.T) {
	servers := addrs("10.0.0.1", "10.0.0.2")
	for _, tt := range []struct {
		setting Setting
		want    string
	}{
		{Setting{Way: Resolved, Interface: "tun0", Servers: servers},
			"resolvectl dns tun0 10.0.0.1 10.0.0.2\nresolvectl domain tun0 '~.'\nresolvectl default-route tun0 yes"},
		{Setting{Way: Resolvconf, Interface: "tun0", Servers: servers},
			`printf 'nameserver %s\n' 10.0.0.1 10.0.0.2 | resolvconf -a tun0.dsvpn -m 0 -x`},
		{Setting{Way: Resolvconf, Interface: "vpn", Servers: servers},
			`printf 'nameserver %s\n' 10.0.0.1 10.0.0.2 | resolvconf -a tun.vpn.dsvpn -m 0 -x`},
		{Setting{Way: File, Interface: "tun0", Servers: servers}, "cp -a /etc/resolv.conf /etc/resolv.conf.dsvpn\n" +
			`printf 'nameserver %s\n' 10.0.0.1 10.0.0.2 >/etc/resolv.conf.dsvpn-new` + "\nmv /etc/resolv.conf.dsvpn-new /etc/resolv.conf"},
		{Setting{Way: File, Interface: "tun0", Servers: servers, InPlace: true}, "cp /etc/resolv.conf /etc/resolv.conf.dsvpn\n" +
			`printf 'nameserver %s\n' 10.0.0.1 10.0.0.2 >/etc/resolv.conf`},
	} {
		if diff := cmp.Diff(tt.want, tt.setting.String()); diff != "" {
			t.Errorf("commands (-want +got):\n%s", diff)
		}
	}
}

// Whatever is in a resolv.conf, its name servers survive being written, and a
// file is taken for ours only if it is one to the letter.
func FuzzResolvConf(f *testing.F) {
	ours := Setting{Interface: "tun0", Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}.render()
	f.Add([]byte("# comment\nnameserver 192.0.2.1\n nameserver\t2001:db8::1%eth0 x\nnameserver ::ffff:192.0.2.1\noptions edns0"))
	f.Add(ours)
	f.Fuzz(func(t *testing.T, conf []byte) {
		addrs := servers(conf)
		if len(addrs) > 0 {
			if again := servers([]byte(nameServers(addrs))); !slices.Equal(again, addrs) {
				t.Errorf("%v becomes %v", addrs, again)
			}
		}
		if first, _, _ := strings.Cut(string(conf), "\n"); isOurs(conf) && !strings.HasPrefix(first, mark) {
			t.Errorf("%q is taken for ours", conf)
		}
		for line := range strings.Lines(comments(conf)) {
			if line[0] != '#' && line[0] != ';' {
				t.Errorf("%q is taken for a comment", line)
			}
		}
		if changed := append(conf, 'x'); isOurs(conf) && isOurs(changed) {
			t.Errorf("%q is taken for ours, changed or not", conf)
		}
	})
}
