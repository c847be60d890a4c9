package netcfg

import (
	"fmt"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/firewall"
	"dsvpn/netcfg/link"
)

// Action is one change to a host: plain data that prints itself as the command
// that a person would type. On systems where it can be performed it is a
// performer too.
type Action interface {
	fmt.Stringer
	// Op says what is done, such as "add rule".
	Op() string
	// Object says to what, such as "IPv4 31000".
	Object() string
}

// performer is an action that this system can perform. The undo is nil where
// there is nothing to take back; there may be one even with an error, for what
// was done before it.
type performer interface {
	Action
	do() (undo func() error, err error)
}

// Step is an action in a plan.
type Step struct {
	Action
	// Optional says that the tunnel works without it: a failure is logged and
	// the rest goes on.
	Optional bool
	// Stays says that it is not undone: see Config.KeepClosed.
	Stays bool
}

// SetSysctl sets a kernel parameter while the tunnel is up.
type SetSysctl struct {
	Name, Value string
	Holder      string // the interface of the tunnel that needs it
	StateDir    string // see Config
}

func (s SetSysctl) Op() string     { return "set sysctl" }
func (s SetSysctl) Object() string { return s.Name }
func (s SetSysctl) String() string { return fmt.Sprintf("sysctl -w %s=%s", s.Name, s.Value) }

// InstallFirewall programs the packet filter.
type InstallFirewall struct {
	Kind   FirewallKind
	Policy firewall.Policy
	// Neighbours are the chains of others that were found when the plan was
	// made, for it to be printed. Whoever installs it looks again.
	Neighbours []firewall.Chain
}

func (s InstallFirewall) Op() string { return "install firewall rules" }
func (s InstallFirewall) Object() string {
	return fmt.Sprintf("for %s with %s", s.Policy.Interface, s.Kind)
}

func (s InstallFirewall) String() string {
	if fw := firewalls[s.Kind]; fw != nil {
		return fw.Script(s.Policy, s.Neighbours)
	}
	return fmt.Sprintf("# firewall rules for %s with %s, which this system does not have", s.Policy.Interface, s.Kind)
}

// AddAddress gives an interface an address.
type AddAddress struct{ link.Address }

func (AddAddress) Op() string       { return "add address" }
func (s AddAddress) Object() string { return s.Name() }

// SetUp sets an interface up.
type SetUp struct{ Interface string }

func (SetUp) Op() string       { return "set up interface" }
func (s SetUp) Object() string { return s.Interface }
func (s SetUp) String() string { return fmt.Sprintf("ip link set dev %s up", s.Interface) }

// AddRoute adds a default route to a table.
type AddRoute struct{ link.Route }

func (AddRoute) Op() string       { return "add route" }
func (s AddRoute) Object() string { return s.Name() }

// SetDNS sets the name servers that programs ask.
type SetDNS struct{ dns.Setting }

func (SetDNS) Op() string { return "set name servers" }

// AddRule adds a policy rule.
type AddRule struct{ link.Rule }

func (AddRule) Op() string       { return "add rule" }
func (s AddRule) Object() string { return s.Name() }
