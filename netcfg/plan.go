package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/link"
)

// Plan is what is to be done to a host, in this order.
type Plan struct {
	Interface string // the tunnel interface
	Steps     []Step
	facts     Facts // that it was made from
	// Notes say what was left out or chosen, and why.
	Notes []string
	// Warnings say what will not work as the operator may expect.
	Warnings []string
	// NameServers are those that the client itself must ask for the name of its
	// server, past the tunnel. None are those that everybody asks.
	NameServers []netip.AddrPort
}

// String is the plan as the commands that a person would type.
func (p Plan) String() string {
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString(s.String())
		if s.Optional {
			b.WriteString(" # optional")
		}
		if s.Stays {
			b.WriteString(" # stays")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *Plan) add(actions ...Action) {
	for _, a := range actions {
		p.Steps = append(p.Steps, Step{Action: a})
	}
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// minIPv6MTU is the smallest MTU that IPv6 works with (RFC 8200, section 5).
const minIPv6MTU = 1280

func (c Config) wantsFirewall() bool {
	return !c.PointToPoint && c.Firewall != FirewallNone
}

// MakePlan says what makes a host with these facts look as cfg wants it. It is
// an error if the host has something that stands in the way, or lacks
// something that the tunnel cannot do without.
func MakePlan(cfg Config, facts Facts) (Plan, error) {
	p := Plan{Interface: cfg.Interface, facts: facts}
	if err := checkAddresses(cfg, facts, &p); err != nil {
		return Plan{}, err
	}
	var err error
	switch {
	case facts.HasCommands():
		err = p.withCommands(cfg, facts)
	case cfg.PointToPoint:
		p.note("point-to-point: no routes, rules, firewall or sysctls, only the addresses of %s", cfg.Interface)
		p.addInterface(cfg, facts)
	case cfg.Role == Server:
		err = p.server(cfg, facts)
	default:
		err = p.client(cfg, facts)
	}
	if err != nil {
		return Plan{}, err
	}
	sets := slices.ContainsFunc(p.Steps, func(s Step) bool { _, ok := s.Action.(SetSysctl); return ok })
	if sets && facts.Volatile != nil {
		p.note("former values of sysctls would be lost with a kill: %v", facts.Volatile)
	}
	return p, nil
}

// checkAddresses looks for tunnel addresses that the host has a use for.
func checkAddresses(cfg Config, facts Facts, p *Plan) error {
	others := facts
	others.Interfaces = nil
	for _, i := range facts.Interfaces {
		if i.Name != cfg.Interface {
			others.Interfaces = append(others.Interfaces, i)
		}
	}
	for _, a := range []netip.Addr{cfg.Local, cfg.Remote} {
		name, has, found := others.interfaceWith(func(n netip.Prefix) bool { return n.Addr() == a })
		if found {
			return fmt.Errorf("tunnel address %s is in use on %s (%s): choose other tunnel addresses, on both sides", a, name, has)
		}
		name, net, found := others.interfaceWith(func(n netip.Prefix) bool { return n.Contains(a) && n.Bits() > 0 })
		if found {
			p.warn("tunnel address %s lies in %s, the network of %s: the host with that address there will be unreachable",
				a, net.Masked(), name)
		}
	}
	return nil
}

func (p *Plan) server(cfg Config, facts Facts) error {
	if err := p.forwarding(cfg, facts); err != nil {
		return err
	}
	uplink, err := sharedUplink(cfg, facts)
	if err != nil {
		return err
	}
	forward := &firewall.Forward{Uplink: uplink, Source: cfg.Remote}
	if cfg.IPv6 != IPv6Off && facts.HasIPv6 {
		forward.Source6 = cfg.Prefix6
		forward.Block6 = cfg.IPv6 == IPv6Block
	}
	if err := p.firewall(cfg, facts, firewall.Policy{Forward: forward}); err != nil {
		return err
	}
	p.addInterface(cfg, facts)
	return nil
}

// sharedUplink is the interface that clients reach the world by.
func sharedUplink(cfg Config, facts Facts) (string, error) {
	if cfg.Uplink == "" {
		route, ok := facts.uplink(link.IPv4)
		if !ok {
			return "", errors.New("there is no IPv4 default route to share with clients: " +
				"name the external interface as the last argument, or use --point-to-point")
		}
		return route.Interface, nil
	}
	if !facts.hasInterface(cfg.Uplink) {
		return "", fmt.Errorf("external interface %s does not exist", cfg.Uplink)
	}
	return cfg.Uplink, nil
}

// forwarding makes the host a router, if it is none.
func (p *Plan) forwarding(cfg Config, facts Facts) error {
	now := facts.Sysctls[sysctlForward]
	switch {
	case now.Value == "1" && !now.Writable:
		p.note("%s is 1 already", sysctlForward)
		return nil
	case !now.Writable:
		return fmt.Errorf("%s is %s and cannot be written: run as root, or %s",
			sysctlForward, orUnknown(now.Value), forContainer(sysctlForward))
	}
	// Also where it is 1 already: another tunnel of ours may have set it, and
	// must not take it back while this one needs it.
	p.add(SetSysctl{sysctlForward, "1", cfg.Interface, cfg.StateDir})
	return nil
}

// forContainer tells how the parameter is set to 1 for a container, which
// cannot do so itself.
func forContainer(sysctl string) string {
	return fmt.Sprintf("set it for the container with --sysctl %[1]s=1 "+
		"(in Kubernetes, of the pod: securityContext: {sysctls: [{name: %[1]s, value: \"1\"}]})", sysctl)
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (p *Plan) client(cfg Config, facts Facts) error {
	for _, t := range facts.Tables {
		if t.Table == cfg.Table && t.Interface != cfg.Interface {
			return fmt.Errorf("routing table %d is in use by the dsvpn client on %s: choose another --table, --mark and --rule-priority",
				t.Table, t.Interface)
		}
	}
	p.congestion(cfg, facts)
	policy := firewall.Policy{Bypass: p.bypass(cfg, facts)}
	if cfg.KillSwitch {
		policy.KillSwitch = &firewall.KillSwitch{Mark: cfg.Mark, Allowed: cfg.Allowed}
	}
	if err := p.firewall(cfg, facts, policy); err != nil {
		return err
	}
	p.addInterface(cfg, facts)
	p.addRoutes(cfg, facts)
	return p.nameServers(cfg, facts)
}

// bypass keeps connections outside the tunnel that cannot or should not go
// through it.
func (p *Plan) bypass(cfg Config, facts Facts) firewall.Bypass {
	b := firewall.Bypass{Mark: cfg.Mark}
	if cfg.KeepInbound {
		for _, u := range facts.Uplinks {
			if !slices.Contains(b.Inbound, u.Interface) {
				b.Inbound = append(b.Inbound, u.Interface)
			}
		}
	} else if facts.awayFrom(cfg.OperatorAddr) {
		p.warn("this start comes from %s, and what this host answers there will go into the tunnel: "+
			"the connection will hang; --keep-inbound keeps it", cfg.OperatorAddr)
	}
	if len(facts.StrictUplinks) == 0 {
		return b
	}
	// The mark counts for the filter only where this is set, too.
	mark := facts.Sysctls[sysctlValidMark]
	if !cfg.wantsFirewall() || mark.Value != "1" && !mark.Writable {
		p.warn("strict reverse-path filtering (rp_filter) on %s drops the server's answers, unless the server is in a network of this host: "+
			"%s=1 cannot be set here: set rp_filter=2, or %s",
			strings.Join(facts.StrictUplinks, " and "), sysctlValidMark, forContainer(sysctlValidMark))
		return b
	}
	if mark.Writable {
		p.add(SetSysctl{sysctlValidMark, "1", cfg.Interface, cfg.StateDir})
	}
	p.note("strict reverse-path filtering on %s: answers from the server are marked", strings.Join(facts.StrictUplinks, " and "))
	b.Answers = true
	return b
}

// congestion asks for the congestion control that suits a tunnel.
func (p *Plan) congestion(cfg Config, facts Facts) {
	now := facts.Sysctls[sysctlCongestion]
	switch {
	case cfg.Congestion == "" || now.Value == "":
	case now.Value == cfg.Congestion && !now.Writable:
	case !now.Writable:
		p.note("%s stays %s: it cannot be written here", sysctlCongestion, now.Value)
	default:
		p.Steps = append(p.Steps, Step{Optional: true,
			Action: SetSysctl{sysctlCongestion, cfg.Congestion, cfg.Interface, cfg.StateDir}})
	}
}

// firewall installs the packet filter rules: a policy, to which it adds what
// both ends need. They come before the addresses, so that those are never
// without protection.
func (p *Plan) firewall(cfg Config, facts Facts, policy firewall.Policy) error {
	if !cfg.wantsFirewall() {
		if policy.KillSwitch != nil {
			return errors.New("--kill-switch is firewall rules, and cannot go with --firewall none")
		}
		p.warn("--firewall none: nothing keeps others from reaching %s from outside the tunnel%s", cfg.Local,
			map[bool]string{true: ", and clients reach the world only if you masquerade them"}[policy.Forward != nil])
		return nil
	}
	chosen, why, err := chooseFirewall(cfg.Firewall, facts.Firewalls)
	if err != nil {
		return err
	}
	p.note("firewall: %s (%s)", chosen.Kind, why)
	if chosen.Unreached != nil {
		p.warn("another firewall may drop what clients send and get: %v", chosen.Unreached)
	}
	policy.Interface = cfg.Interface
	policy.Protect = []netip.Addr{cfg.Local}
	if cfg.hasIPv6Address(facts) {
		policy.Protect = append(policy.Protect, cfg.Local6())
	}
	p.add(InstallFirewall{chosen.Kind, policy, chosen.Neighbours})
	return nil
}

// chooseFirewall takes the first firewall that works, and says why it is that.
func chooseFirewall(want FirewallKind, facts []FirewallFact) (chosen FirewallFact, why string, err error) {
	var errs []error
	for _, f := range facts {
		if want != FirewallAuto && want != f.Kind {
			continue
		}
		if f.Err == nil {
			reasons := []string{"works " + f.Means}
			if want != FirewallAuto {
				reasons = append(reasons, "asked for by --firewall")
			}
			for _, err := range errs {
				reasons = append(reasons, "not "+err.Error())
			}
			return f, strings.Join(reasons, "; "), nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", f.Kind, f.Err))
	}
	return chosen, "", fmt.Errorf("no firewall can be programmed here (is CAP_NET_ADMIN missing? "+
		"--firewall none goes on without): %w", errors.Join(errs...))
}

// hasIPv6Address reports whether the interface gets an IPv6 address.
func (c Config) hasIPv6Address(facts Facts) bool {
	return c.IPv6 != IPv6Off && facts.HasIPv6 && facts.NewIPv6 && c.MTU >= minIPv6MTU
}

// addInterface sets the interface up and gives it its addresses, in this order:
// an IPv6 address that is given to an interface on its way up becomes usable
// only in the kernel's own time.
func (p *Plan) addInterface(cfg Config, facts Facts) {
	p.add(SetUp{cfg.Interface})
	p.add(AddAddress{link.Address{Interface: cfg.Interface, Local: cfg.Local, Peer: netip.PrefixFrom(cfg.Remote, 32)}})
	if cfg.hasIPv6Address(facts) {
		p.add(AddAddress{link.Address{Interface: cfg.Interface, Local: cfg.Local6(),
			Peer: netip.PrefixFrom(cfg.Remote6(), cfg.Prefix6.Bits())}})
	}
	p.noteNoIPv6(cfg, facts)
}

// noteNoIPv6 says why the interface gets no IPv6 address, if it gets none.
func (p *Plan) noteNoIPv6(cfg Config, facts Facts) {
	switch {
	case cfg.hasIPv6Address(facts), cfg.IPv6 == IPv6Off:
	case !facts.HasIPv6:
		p.note("no IPv6 in the tunnel: the kernel has none")
	case !facts.NewIPv6:
		p.note("no IPv6 in the tunnel: net.ipv6.conf.default.disable_ipv6 is set")
	default:
		p.note("no IPv6 in the tunnel: its MTU of %d is below %d", cfg.MTU, minIPv6MTU)
	}
}

// addRoutes sends everything into the tunnel but what is marked and what has a
// more specific route.
//
// The order matters. The routes stand before a rule leads to them; and the
// rule that keeps the local networks reachable comes before the one that takes
// everything else. Backwards, it is right for the way down.
func (p *Plan) addRoutes(cfg Config, facts Facts) {
	// closing adds what is enough to keep everything from passing the tunnel.
	closing := func(a Action) { p.Steps = append(p.Steps, Step{Action: a, Stays: cfg.KeepClosed}) }
	families := []link.Family{link.IPv4}
	switch {
	case cfg.IPv6 == IPv6Off:
		p.warn("--ipv6 off: IPv6 does not go through the tunnel and leaves this host in the clear")
	case facts.HasIPv6:
		families = append(families, link.IPv6)
	}
	for _, f := range families {
		// IPv6 that is blocked has no way into the tunnel at all: a route that
		// answers is faster than any reject rule. (A TCP connect that meets an
		// ICMPv6 error on its way out learns of it a second later, from the
		// first retransmission; one without a route fails at once.)
		into := f == link.IPv4 || cfg.IPv6 == IPv6Tunnel && cfg.hasIPv6Address(facts)
		if into {
			p.add(AddRoute{link.Route{Family: f, Table: cfg.Table, Interface: cfg.Interface}})
		}
		// When the process is killed, the interface goes and its route with
		// it. This one stays, so that nothing leaves in the clear.
		closing(AddRoute{link.Route{Family: f, Table: cfg.Table, Metric: link.UnreachableMetric}})
	}
	for _, f := range families {
		closing(AddRule{link.Rule{Family: f, Priority: cfg.RulePriority, Table: link.TableMain, SuppressDefault: true}})
	}
	// What another tunnel sends to its own peer must not come into this one,
	// or each would carry the other in a circle.
	for _, b := range facts.Bypasses {
		if slices.Contains(families, b.Family) && b.Mark != cfg.Mark {
			closing(AddRule{link.Rule{Family: b.Family, Priority: cfg.RulePriority, Table: link.TableMain, Mark: b.Mark}})
		}
	}
	for _, f := range families {
		closing(AddRule{link.Rule{Family: f, Priority: cfg.RulePriority + 1, Table: cfg.Table, NotMark: cfg.Mark}})
	}
}
