package netcfg

import (
	"path/filepath"

	"dsvpn/netcfg/dns"
)

// Needs is what guarding and undoing an applied plan takes of the system
// besides netlink, so that a process can give up the rest. Everything takes
// CAP_NET_ADMIN. Files under /etc, /proc and /run are read.
type Needs struct {
	// Iptables says that iptables programs are run. Those of the older packet
	// filter take CAP_NET_RAW.
	Iptables bool
	// Hooks says that resolvconf is run, and with it what the host has made it
	// run: that may be anything, and need any privilege.
	Hooks bool
	// Writes are the directories in which files are changed, made and removed.
	// StateDir (see [Config]) is another one, which may come and go.
	Writes   []string
	StateDir string
}

// Needs tells what the plan for cfg, and what a change of the network may make
// of it, takes.
func (p Plan) Needs(cfg Config) Needs {
	n := Needs{StateDir: cfg.StateDir, Writes: []string{sysctlDir}}
	// Where packets are forwarded, the older packet filter may turn up beside
	// nftables at any time.
	n.Iptables = cfg.Role == Server && cfg.wantsFirewall()
	for _, s := range p.Steps {
		switch a := s.Action.(type) {
		case InstallFirewall:
			n.Iptables = n.Iptables || a.Kind == FirewallIPTables
		case SetDNS:
			switch a.Way {
			case dns.Resolvconf:
				n.Hooks = true
			case dns.File:
				n.Writes = append(n.Writes, filepath.Dir(dns.ResolvConf))
			}
		}
	}
	return n
}
