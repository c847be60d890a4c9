package netcfg

import (
	"errors"
	"fmt"
	"net/netip"

	"dsvpn/netcfg/dns"
)

// nameServers has programs ask the name servers that the operator wants, or
// says what becomes of those that they ask now.
//
// It is the last step: so the routes to the name servers stand before anybody
// asks them, and on the way down the old ones are back before the tunnel goes.
func (p *Plan) nameServers(cfg Config, facts Facts) error {
	if len(cfg.DNS) > 0 || facts.DNS.Replaced {
		for _, a := range facts.DNS.Servers {
			p.NameServers = append(p.NameServers, netip.AddrPortFrom(a, dnsPort))
		}
	}
	if len(cfg.DNS) == 0 {
		p.presentNameServers(cfg, facts)
		return nil
	}
	for _, a := range cfg.DNS {
		if err := p.checkNameServer(a, cfg, facts); err != nil {
			return err
		}
	}
	way, err := chooseDNS(facts.DNSWays)
	if err != nil {
		return err
	}
	p.note("name servers are set with: %s", way)
	p.add(SetDNS{dns.Setting{Way: way, Interface: cfg.Interface, Servers: cfg.DNS, InPlace: facts.DNS.InPlace}})
	return nil
}

const dnsPort = 53

func chooseDNS(ways []dns.WayFact) (dns.Way, error) {
	var errs []error
	for _, w := range ways {
		if w.Err == nil {
			return w.Way, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", w.Way, w.Err))
	}
	return "", fmt.Errorf("name servers cannot be set here (start without --dns to leave them alone): %w", errors.Join(errs...))
}

// checkNameServer looks whether a name server that is wanted can be asked
// through the tunnel.
func (p *Plan) checkNameServer(a netip.Addr, cfg Config, facts Facts) error {
	name, _, near := facts.networkOf(a)
	switch {
	case a.IsLoopback():
	case near && name != cfg.Interface:
		p.warn("--dns %s is in the network of %s: queries to it go past the tunnel", a, name)
	case a.Is4():
	case cfg.IPv6 == IPv6Block:
		return fmt.Errorf("--dns %s cannot be reached with --ipv6 block: name an IPv4 address, or use --ipv6 tunnel", a)
	case cfg.IPv6 == IPv6Off:
		p.warn("--dns %s is an IPv6 address, and with --ipv6 off queries to it go past the tunnel", a)
	case !cfg.hasIPv6Address(facts):
		return fmt.Errorf("--dns %s cannot be reached: the tunnel has no IPv6 on this host", a)
	}
	return nil
}

// presentNameServers says what becomes of the name servers that the host has,
// now that other ways lead to them.
func (p *Plan) presentNameServers(cfg Config, facts Facts) {
	for _, a := range facts.DNS.Servers {
		name, _, near := facts.networkOf(a)
		switch {
		case a.IsLoopback():
			p.note("names are resolved by a program on this host (%s): what it asks others goes through the tunnel", a)
		case near:
			p.note("name server %s is in the network of %s: queries to it go past the tunnel, where others can read them; "+
				"--dns ADDRESS sets another for the time of the tunnel", a, name)
		case a.Is6() && cfg.IPv6 == IPv6Block:
			p.warn("name server %s cannot be reached with --ipv6 block: "+
				"--dns ADDRESS sets another for the time of the tunnel", a)
		case isLocal(a):
			p.warn("name server %s is a private address outside the networks of this host: it will be asked through the tunnel, "+
				"where it is probably out of reach; --dns ADDRESS sets another for the time of the tunnel", a)
		}
	}
}

// networkOf finds the interface that is connected to the network of an address.
func (f Facts) networkOf(a netip.Addr) (string, netip.Prefix, bool) {
	return f.interfaceWith(func(n netip.Prefix) bool { return n.Contains(a.WithZone("")) && n.Bits() > 0 })
}

// sharedSpace is for the customers of a provider (RFC 6598).
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// isLocal reports whether an address means another host in another place.
func isLocal(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLinkLocalUnicast() || sharedSpace.Contains(a)
}
