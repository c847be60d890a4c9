package netcfg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/firewall/ipt"
	"dsvpn/netcfg/firewall/nft"
	"dsvpn/netcfg/link"
	"dsvpn/netcfg/sysctl"
)

// firewalls are the kinds that this system has.
var firewalls = map[FirewallKind]firewall.Firewall{
	FirewallNFT:      ipt.BesideLegacy(nft.Firewall{}),
	FirewallIPTables: ipt.New(ipt.Programs...),
}

// Probe reads the facts that a plan for cfg depends on. It changes nothing.
func Probe(cfg Config) (Facts, error) {
	var f Facts
	var err error
	if f.Interfaces, err = link.Interfaces(); err != nil {
		return f, err
	}
	if f.Uplinks, err = link.Uplinks(); err != nil {
		return f, err
	}
	if f.Tables, err = tablesInUse(); err != nil {
		return f, err
	}
	if f.Bypasses, err = link.Bypasses(cfg.Table); err != nil {
		return f, err
	}
	f.HasIPv6 = link.HasIPv6()
	if f.HasIPv6 {
		disabled, err := sysctl.Read("net.ipv6.conf.default.disable_ipv6")
		f.NewIPv6 = err == nil && disabled == "0"
	}
	f.Sysctls = map[string]SysctlFact{}
	for _, name := range []string{sysctlForward, sysctlCongestion, sysctlValidMark} {
		value, err := sysctl.Read(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, fmt.Errorf("read sysctl %s: %w", name, err)
		}
		f.Sysctls[name] = SysctlFact{Value: value, Writable: sysctl.Writable(name)}
	}
	f.Volatile = sysctl.Lasts(cfg.StateDir)
	f.StrictUplinks = strictUplinks(f.Uplinks)
	if cfg.wantsFirewall() {
		f.Firewalls = probeFirewalls(cfg)
	}
	f.DNS = dns.Read()
	if cfg.Role == Client && len(cfg.DNS) > 0 {
		f.DNSWays = f.DNS.Ways()
	}
	return f, nil
}

// thisHost is the host that we run on.
type thisHost struct{}

func (thisHost) refresh(f Facts, cfg Config) (Facts, error) {
	uplinks, err := link.Uplinks()
	if err != nil {
		return f, err
	}
	if f.Bypasses, err = link.Bypasses(cfg.Table); err != nil {
		return f, err
	}
	f.Uplinks, f.StrictUplinks = uplinks, strictUplinks(uplinks)
	return f, nil
}

// probeFirewalls tries the kinds of firewall that cfg allows, up to one that
// works, and looks for its neighbours if something is to be forwarded.
func probeFirewalls(cfg Config) (facts []FirewallFact) {
	kinds := []FirewallKind{FirewallNFT, FirewallIPTables}
	if cfg.Firewall != FirewallAuto {
		kinds = []FirewallKind{cfg.Firewall}
	}
	for _, kind := range kinds {
		fact := FirewallFact{Kind: kind}
		fw := firewalls[kind]
		fact.Means, fact.Err = fw.Probe()
		if fact.Err == nil && cfg.Role == Server {
			fact.Neighbours, fact.Unreached = fw.Neighbours()
		}
		facts = append(facts, fact)
		if fact.Err == nil {
			break
		}
	}
	return facts
}

func (thisHost) waysOut(except string) (string, error) {
	uplinks, err := link.Uplinks()
	if err != nil {
		return "", err
	}
	interfaces, err := link.Interfaces()
	if err != nil {
		return "", err
	}
	return describeWays(uplinks, interfaces, except), nil
}

// PathTo returns a function that describes how packets with a mark get to an
// address, in words that change when the way does.
func PathTo(mark uint32) func(netip.Addr) (string, error) {
	return func(addr netip.Addr) (string, error) { return link.PathTo(addr, mark) }
}

// strictUplinks finds the uplinks with strict reverse-path filtering. The
// kernel takes the larger of the values for the interface and for all.
func strictUplinks(uplinks []link.Uplink) (strict []string) {
	all, _ := sysctl.Read("net.ipv4.conf.all.rp_filter")
	for _, u := range uplinks {
		own, _ := sysctl.Read("net/ipv4/conf/" + u.Interface + "/rp_filter")
		if u.Family == link.IPv4 && max(all, own) == "1" && !slices.Contains(strict, u.Interface) {
			strict = append(strict, u.Interface)
		}
	}
	return strict
}

// tablesInUse finds the tables with a route of ours into an interface. Such a
// route lives no longer than the interface, and that no longer than the
// program; so a table without one is a leftover.
func tablesInUse() ([]TableInUse, error) {
	routes, err := link.Routes()
	if err != nil {
		return nil, err
	}
	var used []TableInUse
	for _, r := range routes {
		t := TableInUse{r.Table, r.Interface}
		if r.Interface != "" && !slices.Contains(used, t) {
			used = append(used, t)
		}
	}
	return used, nil
}

func (thisHost) watch(ctx context.Context) (<-chan struct{}, error) { return link.Watch(ctx) }
