package netcfg

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
)

// commands is a plan in the making, for a system that is set up with its own
// commands.
type commands struct {
	*Plan
	cfg   Config
	facts Facts
	sys   fallback.System
	vars  fallback.Vars
}

// HasCommands reports whether the host of these facts is set up with its own
// commands, and so needs a route to its server.
func (f Facts) HasCommands() bool { return f.System != "" && f.System != linux }

const linux = "linux"

// Imagine makes up facts: those of a host of another system with these routers.
// The uplink is the interface that is named, if it is a name.
func Imagine(goos, uplink string, routers []netip.Addr) Facts {
	name := "em0"
	if _, err := netip.ParseAddr(uplink); err != nil && uplink != "" {
		name = uplink
	}
	f := Facts{System: goos, HasIPv6: true, NewIPv6: true, Interfaces: []link.Interface{{Name: name}}}
	for _, a := range routers {
		family := link.IPv4
		if a.Is6() {
			family = link.IPv6
		}
		f.Uplinks = append(f.Uplinks, link.Uplink{Family: family, Interface: name, Gateway: a})
	}
	return f
}

// RunsCommands reports whether the plan is made of commands of the system.
func (p Plan) RunsCommands() bool { return p.facts.HasCommands() }

// Opening is what opens the interface, as one would type it.
func (p Plan) Opening(mtu int) string {
	if p.RunsCommands() {
		return fmt.Sprintf("# open the tunnel device %s\nifconfig %[1]s mtu %d\n", p.Interface, mtu)
	}
	return fmt.Sprintf("ip tuntap add dev %[1]s mode tun\nip link set dev %[1]s mtu %[2]d\n", p.Interface, mtu)
}

// Back is how commands are undone, as one would type it.
func (p Plan) Back() string {
	var b strings.Builder
	for _, s := range slices.Backward(p.Steps) {
		switch a := s.Action.(type) {
		case Run:
			b.WriteString(a.Back() + "\n")
		case setParameter:
			fmt.Fprintf(&b, "sysctl -w %s=(what it was)\n", a.Name)
		}
	}
	return b.String()
}

// commandVars are the variables that a configuration gives values.
func commandVars(cfg Config) fallback.Vars {
	return fallback.Vars{
		fallback.IfName:     cfg.Interface,
		fallback.LocalTunIP: cfg.Local.String(), fallback.RemoteTunIP: cfg.Remote.String(),
		fallback.LocalTunIP6: cfg.Local6().String(), fallback.RemoteTunIP6: cfg.Remote6().String(),
		fallback.ExtPort: strconv.Itoa(int(cfg.Port)),
	}
}

// withCommands makes the plan of the commands of a system.
func (p *Plan) withCommands(cfg Config, facts Facts) error {
	sys, ok := fallback.For(facts.System)
	if !ok {
		return fmt.Errorf("no commands for %s: %w", facts.System, errors.ErrUnsupported)
	}
	if err := p.onlyLinux(cfg, sys.Title); err != nil {
		return err
	}
	c := &commands{p, cfg, facts, sys, commandVars(cfg)}
	var err error
	switch {
	case cfg.PointToPoint:
		p.note("point-to-point: no routes, packet filter or sysctls, only the addresses of %s", cfg.Interface)
		err = c.add(c.table(), nil, fallback.Address, c.address6())
	case cfg.Role == Server:
		err = c.server()
	default:
		err = c.client()
	}
	return err
}

// onlyLinux looks for what there is on Linux only. What the operator relies on
// is an error, and the rest a note.
func (p *Plan) onlyLinux(cfg Config, system string) error {
	if cfg.Firewall != FirewallAuto && cfg.Firewall != FirewallNone {
		return fmt.Errorf("--firewall %s is for Linux: on %s it is %s or %s", cfg.Firewall, system, FirewallAuto, FirewallNone)
	}
	without := []string{}
	for name, given := range map[string]bool{
		"--mark": cfg.Mark != DefaultMark, "--table": cfg.Table != DefaultTable,
		"--rule-priority": cfg.RulePriority != DefaultRulePriority,
		"--congestion":    cfg.Congestion != "" && cfg.Congestion != DefaultCongestion,
	} {
		if given {
			without = append(without, name)
		}
	}
	if slices.Sort(without); len(without) > 0 {
		p.note("without meaning on %s: %s", system, strings.Join(without, ", "))
	}
	if cfg.Role != Client {
		return nil
	}
	for name, given := range map[string]bool{
		"--kill-switch": cfg.KillSwitch, "--keep-closed": cfg.KeepClosed,
		"--keep-inbound": cfg.KeepInbound, "--dns": len(cfg.DNS) > 0,
	} {
		if given {
			return fmt.Errorf("%s is for Linux: there is nothing like it on %s yet", name, system)
		}
	}
	return nil
}

func (c *commands) table() []fallback.Line {
	if c.cfg.Role == Server {
		return c.sys.Server
	}
	return c.sys.Client
}

// address6 is the part for the IPv6 address of the interface, if it gets one.
func (c *commands) address6() fallback.Part {
	if c.cfg.hasIPv6Address(c.facts) {
		return fallback.Address6
	}
	c.noteNoIPv6(c.cfg, c.facts)
	return 0
}

// add makes steps of the lines of a table that are for one of these parts.
func (c *commands) add(table []fallback.Line, vars fallback.Vars, parts ...fallback.Part) error {
	if vars == nil {
		vars = c.vars
	}
	for _, line := range table {
		if !slices.Contains(parts, line.Part) {
			continue
		}
		change, err := line.Expand(vars)
		if err != nil {
			return err
		}
		if change.Name != "" {
			c.Plan.add(setParameter{SetSysctl{change.Name, change.Value, c.cfg.Interface, c.cfg.StateDir}, c.facts.host})
		} else {
			c.Plan.add(Run{change, c.cfg.Interface, c.record(change), c.facts.host})
		}
	}
	return nil
}

// record is the file that keeps what must be taken back after a crash. What
// belongs to the interface goes with it.
func (c *commands) record(change fallback.Change) string {
	if change.Part == fallback.Address || change.Part == fallback.Address6 {
		return ""
	}
	return recordFile(c.cfg.StateDir, c.cfg.Interface)
}

func recordFile(stateDir, iface string) string {
	if stateDir == "" {
		return ""
	}
	return filepath.Join(stateDir, iface+recordSuffix)
}

// keepRecord comes before everything that a crash would leave behind.
func (c *commands) keepRecord() {
	if file := recordFile(c.cfg.StateDir, c.cfg.Interface); file != "" {
		c.Steps = append(c.Steps, Step{Action: KeepRecord{file}, Optional: true})
	}
}

func (c *commands) server() error {
	c.keepRecord()
	uplink, err := sharedUplink(c.cfg, c.facts)
	if err != nil {
		return err
	}
	c.vars[fallback.ExtIfName] = uplink
	if c.cfg.IPv6 == IPv6Tunnel {
		c.warn("--ipv6 tunnel: a server on %s does not forward the IPv6 of its client", c.sys.Title)
	}
	parts := []fallback.Part{fallback.Forward, fallback.Address, c.address6()}
	translates, err := c.translation()
	if err != nil {
		return err
	}
	if translates {
		parts = append(parts, fallback.NAT)
	}
	return c.add(c.table(), nil, parts...)
}

// translation reports whether the table's lines for address translation can
// do their work. If not, it tells the operator what to do.
func (c *commands) translation() (bool, error) {
	if c.cfg.Firewall == FirewallNone {
		c.warn("--firewall none: clients reach the world only if you translate their addresses")
		return false, nil
	}
	why := "this program does not set up address translation on " + c.sys.Title
	if slices.ContainsFunc(c.sys.Server, func(l fallback.Line) bool { return l.Part == fallback.NAT }) {
		if len(c.facts.Unmet) == 0 {
			return true, nil
		}
		why = strings.Join(c.facts.Unmet, ", and ")
	}
	hint, err := c.sys.HintFor(c.vars)
	if err != nil {
		return false, err
	}
	c.warn("the client reaches nothing but this host until you let it: %s. It takes this: %s", why, hint)
	return false, nil
}

func (c *commands) client() error {
	c.keepRecord()
	if err := c.add(c.table(), nil, fallback.Address, c.address6()); err != nil {
		return err
	}
	if err := c.serverRoutes(); err != nil {
		return err
	}
	parts := []fallback.Part{fallback.Route}
	switch {
	case c.cfg.IPv6 == IPv6Off:
		c.warn("--ipv6 off: IPv6 does not go through the tunnel and leaves this host in the clear")
	case !c.facts.HasIPv6:
	case !c.cfg.hasIPv6Address(c.facts):
		return fmt.Errorf("the tunnel has no IPv6, without which that of the host cannot be kept in: "+
			"use an --mtu of at least %d, or --ipv6 off", minIPv6MTU)
	case c.cfg.IPv6 == IPv6Tunnel:
		parts = append(parts, fallback.Route6)
	default:
		parts = append(parts, fallback.Block6)
	}
	if err := c.add(c.table(), nil, parts...); err != nil {
		return err
	}
	c.warn("when this program is killed, what would go through the tunnel leaves in the clear: %s has no routes that outlive it", c.sys.Title)
	return nil
}

// serverRoutes keeps the connection to the server outside the tunnel. There is
// a route to each address that the name of the server stands for, since it may
// be any of them that answers.
func (c *commands) serverRoutes() error {
	if len(c.cfg.Servers) == 0 {
		c.note("the route to the server is not shown: its address is not known")
		return nil
	}
	list := slices.Clone(c.cfg.Servers) // a name server may say the same twice
	slices.SortFunc(list, netip.Addr.Compare)
	list = slices.Compact(list)
	var errs []error
	for _, server := range list {
		if err := c.serverRoute(server); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == len(list) {
		return errors.Join(errs...)
	}
	for _, err := range errs {
		c.note("%v", err)
	}
	return nil
}

func (c *commands) serverRoute(server netip.Addr) error {
	if name, network, near := c.facts.networkOf(server); near && name != c.cfg.Interface {
		c.note("the server %s is in %s, the network of %s, and needs no route", server, network.Masked(), name)
		return nil
	}
	if slices.Contains(c.facts.HostRoutes, server) {
		c.note("there is a route to the server %s already: it stays as it is", server)
		return nil
	}
	family, part := link.IPv4, fallback.ServerRoute
	if server.Is6() {
		family, part = link.IPv6, fallback.ServerRoute6
	}
	gateway := c.cfg.Gateway
	if !gateway.IsValid() || gateway.Is4() != server.Is4() {
		uplink, ok := c.facts.uplink(family)
		if !ok {
			return fmt.Errorf("there is no %s default route to reach the server %s by: name the router as GATEWAY", family, server)
		}
		if gateway = uplink.Gateway; !gateway.IsValid() {
			return fmt.Errorf("the %s default route (%s) has no router to reach the server %s by: name one as GATEWAY",
				family, uplink.Interface, server)
		}
	}
	vars := fallback.Vars{fallback.ExtIP: server.String(), fallback.ExtGwIP: gateway.String()}
	return c.add(c.table(), vars, part)
}
