package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// neighbour is another firewall on the server's host. It lets in port 443, lets
// a guest (see addGuest) reach the internet and forwards nothing else.
type neighbour struct {
	name  string
	needs []string // programs
	// start sets it up on a host and returns a function that makes it load its
	// rules again.
	start  func(t *testing.T, h *netlab.Host) (reload func())
	wipes  bool // that removes rules of others
	daemon bool // the real thing, not only its rules
}

// neighbours are those that servers meet. ufw and firewalld are the real ones;
// the others are rules as they are found on hosts.
var neighbours = []neighbour{
	{"docker", []string{"iptables-nft"}, restored("iptables-nft", dockerRules), true, false},
	{"docker legacy", []string{"iptables-legacy"}, restored("iptables-legacy", dockerRules), true, false},
	{"legacy and nft", []string{"iptables-nft", "iptables-legacy"}, func(t *testing.T, h *netlab.Host) func() {
		older, newer := restored("iptables-legacy", dockerRules)(t, h), restored("iptables-nft", dropRules)(t, h)
		return func() { older(); newer() }
	}, true, false},
	{"trailing reject", []string{"iptables-nft"}, restored("iptables-nft", rejectRules), true, false},
	{"nftables", []string{"nft"}, script("nft -f - <<'END'\n" + nftRules + "END"), true, false},
	{"ufw", []string{"ufw", "unshare"}, startUFW, false, true},
	{"firewalld", []string{"firewalld", "firewall-cmd", "dbus-daemon"}, startFirewalld, true, true},
}

// dockerRules are those of Docker 27 for its default network.
const dockerRules = `*nat
:DOCKER -
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:FORWARD DROP
:DOCKER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
`

const dropRules = `*filter
:FORWARD DROP
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
`

const rejectRules = `*filter
:INPUT ACCEPT
:FORWARD ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p tcp --dport 443 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
COMMIT
`

// nftRules begin like the file of every distribution: reloading wipes all.
const nftRules = `flush ruleset
table inet filter {
	chain input {
		type filter hook input priority 0; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
		tcp dport 443 accept
	}
	chain forward {
		type filter hook forward priority 0; policy drop;
		ct state established,related accept
		iifname "docker0" accept
	}
	chain clamp {
		type filter hook forward priority mangle; policy accept;
		tcp flags syn tcp option maxseg size set rt mtu
	}
}
`

// script is a neighbour that a shell script sets up, again for each reload.
func script(text string) func(*testing.T, *netlab.Host) func() {
	return func(t *testing.T, h *netlab.Host) func() {
		reload := func() { sh(t, h, text) }
		reload()
		return reload
	}
}

// restored is a neighbour whose rules iptables-restore loads.
func restored(iptables, rules string) func(*testing.T, *netlab.Host) func() {
	return script(fmt.Sprintf("%s-restore <<'END'\n%sEND", iptables, rules))
}

// sh runs a shell script on a host.
func sh(t *testing.T, h *netlab.Host, text string) string {
	t.Helper()
	out, err := h.CombinedOutput(exec.Command("sh", "-e", "-c", text))
	if err != nil {
		t.Fatalf("%s\n%v\n%s", text, err, out)
	}
	return string(out)
}

// startUFW turns on ufw, with files of its own in place of the machine's.
func startUFW(t *testing.T, h *netlab.Host) func() {
	own := t.TempDir()
	ufw := func(commands ...string) {
		sh(t, h, fmt.Sprintf(`exec unshare --mount sh -e -c '
			mount -t tmpfs none /run
			[ -e %[1]s/ufw ] || cp -a /etc/ufw /etc/default %[1]s
			mount --bind %[1]s/ufw /etc/ufw
			mount --bind %[1]s/default /etc/default
			%[2]s'`, own, strings.Join(commands, "\n")))
	}
	ufw("ufw allow 443/tcp", "ufw route allow in on docker0", "ufw --force enable")
	return func() { ufw("ufw reload") }
}

// startFirewalld runs firewalld, on a message bus of its own.
func startFirewalld(t *testing.T, h *netlab.Host) func() {
	own, err := os.MkdirTemp("", "bus") // short enough for the name of a socket
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(own) })
	check(t, os.WriteFile(filepath.Join(own, "bus.conf"), fmt.Appendf(nil, `<busconfig>
		<listen>unix:path=%s/bus</listen>
		<auth>EXTERNAL</auth>
		<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
	</busconfig>`, own), 0o600))
	check(t, os.MkdirAll(filepath.Join(own, "etc/zones"), 0o755))
	for zone, inside := range map[string]string{
		"public":  `<port port="443" protocol="tcp"/>`,
		"trusted": `<interface name="docker0"/>`,
	} {
		target := map[string]string{"trusted": ` target="ACCEPT"`}[zone]
		check(t, os.WriteFile(filepath.Join(own, "etc/zones", zone+".xml"),
			fmt.Appendf(nil, "<zone%s>%s</zone>", target, inside), 0o644))
	}
	env := append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS=unix:path="+own+"/bus")
	command := func(name string, args ...string) *netlab.Cmd {
		cmd := h.Command(t.Context(), name, args...)
		cmd.Env = env
		return cmd
	}
	var log logBuffer
	for _, daemon := range []*netlab.Cmd{
		command("dbus-daemon", "--nofork", "--config-file", filepath.Join(own, "bus.conf")),
		command("firewalld", "--nofork", "--nopid", "--system-config", filepath.Join(own, "etc"), "--log-target", "console"),
	} {
		daemon.Stdout, daemon.Stderr = &log, &log
		check(t, daemon.Start())
		ended := make(chan struct{})
		go func() {
			daemon.Wait()
			close(ended)
		}()
		t.Cleanup(func() {
			daemon.Process.Kill()
			<-ended
		})
		eventually(t, "the message bus is there", func() bool { _, err := os.Stat(own + "/bus"); return err == nil })
	}
	eventually(t, "firewalld runs", func() bool { return command("firewall-cmd", "--state").Run() == nil })
	return func() {
		if out, err := command("firewall-cmd", "--reload").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, out, log.String())
		}
	}
}

// need skips the test where the programs of a neighbour are missing.
func (n neighbour) need(t *testing.T) {
	t.Helper()
	netlabtest.Need(t, n.needs...)
}
