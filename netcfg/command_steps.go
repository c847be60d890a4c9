package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
	"dsvpn/netcfg/sysctl"
)

// commandHost is a host that is set up with commands.
type commandHost interface {
	fallback.Runner
	Interfaces() ([]link.Interface, error)
	Table() ([]link.Entry, error)
	Watch(context.Context) (<-chan struct{}, error)
}

// Run runs a command of the system.
type Run struct {
	fallback.Change
	Interface string      // of the tunnel
	Record    string      // the file that keeps what is to be taken back; empty: none
	on        commandHost // nil in a plan that is only to be read
}

// purposes say what the parts of a table are for.
var purposes = map[fallback.Part]string{
	fallback.Address:      "set up interface",
	fallback.Address6:     "add IPv6 address to",
	fallback.NAT:          "translate addresses for",
	fallback.ServerRoute:  "add route to the server",
	fallback.ServerRoute6: "add route to the server",
	fallback.Route:        "add route",
	fallback.Route6:       "add route",
	fallback.Block6:       "block",
}

// Op says what the command is for.
func (s Run) Op() string { return purposes[s.Part] }

// Object is the interface, or the destination of a route.
func (s Run) Object() string {
	if s.To.IsValid() {
		return s.To.String()
	}
	return s.Interface
}

func (s Run) String() string { return s.Do.String() }

func (s Run) do() (undo func() error, err error) {
	if s.on == nil {
		return nil, errors.ErrUnsupported
	}
	if err := s.isFree(); err != nil {
		return nil, err
	}
	e := entry{Undo: s.Undo, To: s.To, Via: s.Via}
	if s.Gives == "" {
		// The record is there before the thing: of the two ways to crash in
		// between, this one loses nothing.
		if err := note(s.Record, e); err != nil {
			return nil, err
		}
	}
	output, err := fallback.Do(s.on, s.Do)
	if failed, ok := errors.AsType[*fallback.RunError](err); ok && failed.Refused() {
		e.Done = true // what is there is somebody else's
		return nil, errors.Join(err, note(s.Record, e))
	}
	if s.Gives != "" {
		given, givenErr := s.Given(output)
		if givenErr != nil {
			return nil, errors.Join(err, givenErr)
		}
		e.Undo = given
		err = errors.Join(err, note(s.Record, e))
	}
	if len(e.Undo.Args) == 0 {
		return nil, err
	}
	return func() error { return s.undo(e) }, err
}

// isFree looks for somebody else's route to the destination. Most systems would
// refuse a second one, but FreeBSD would use both in turn.
func (s Run) isFree() error {
	if !s.To.IsValid() {
		return nil
	}
	table, err := s.on.Table()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(table, func(e link.Entry) bool { return e.To == s.To && e.Static && !e.Scoped })
	if i < 0 {
		return nil
	}
	return fmt.Errorf("there is such a route already, by %s via %s: does another VPN run?", table[i].Interface, table[i].Via)
}

// undo takes back what was done. What belongs to the interface is gone if that
// is, whatever the command says.
func (s Run) undo(e entry) error {
	err := takeBack(s.on, s.Record, e)
	if err == nil || gone(err) || s.To.IsValid() || s.Part == fallback.NAT {
		return err
	}
	interfaces, listErr := s.on.Interfaces()
	if listErr == nil && !slices.ContainsFunc(interfaces, func(i link.Interface) bool { return i.Name == s.Interface }) {
		return fmt.Errorf("%w: %w", link.ErrGone, err)
	}
	return err
}

// takeBack runs the undo of an entry, and says so in the record.
func takeBack(on fallback.Runner, record string, e entry) error {
	_, err := fallback.Do(on, e.Undo)
	failed, ok := errors.AsType[*fallback.RunError](err)
	if err != nil && !(ok && failed.Gone()) {
		return err
	}
	e.Done = true
	if err := note(record, e); err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("%w: %w", link.ErrGone, err)
	}
	return nil
}

// mend adds a route again that is no longer there.
func (s Run) mend() (missing bool, err error) {
	if !s.To.IsValid() {
		return false, nil
	}
	table, err := s.on.Table()
	if err != nil {
		return false, err
	}
	if slices.ContainsFunc(table, func(e link.Entry) bool { return e.To == s.To && !e.Scoped }) {
		return false, nil
	}
	_, err = fallback.Do(s.on, s.Do)
	return err == nil, err
}

// excludes reports whether another action adds a route to the same destination:
// there cannot be two, or should not, as FreeBSD would use both in turn.
func (s Run) excludes(other Action) bool {
	o, ok := other.(Run)
	return ok && s.To.IsValid() && s.To == o.To
}

// replaces reports whether the command puts something in the place of what
// another one did: rules in the place of other rules.
func (s Run) replaces(other Action) bool {
	o, ok := other.(Run)
	return ok && s.Do.Input != "" && slices.Equal(s.Do.Args, o.Do.Args)
}

// setParameter sets a kernel parameter of another system than Linux.
type setParameter struct {
	SetSysctl
	on commandHost
}

func (s setParameter) do() (undo func() error, err error) {
	if s.on == nil {
		return nil, errors.ErrUnsupported
	}
	return parameterStore(s.on, s.StateDir).Set(s.Name, s.Value, s.Holder)
}

func parameterStore(on fallback.Runner, stateDir string) *sysctl.Store {
	return sysctl.NewStoreOf(parameters{on}, stateDir)
}

// parameters are those of a kernel that sysctl(8) tells and sets.
type parameters struct{ on fallback.Runner }

func (p parameters) Read(name string) (string, error) {
	value, err := p.on.Run(fallback.Command{Args: []string{"sysctl", "-n", name}})
	return strings.TrimSpace(value), err
}

// Write sets a parameter. Whether it is set is what counts, and not how the
// command has ended.
func (p parameters) Write(name, value string) error {
	_, err := p.on.Run(fallback.Command{Args: []string{"sysctl", "-w", name + "=" + value}})
	now, readErr := p.Read(name)
	switch {
	case readErr == nil && now == value:
		return nil
	case err == nil && readErr == nil:
		return fmt.Errorf("%s is still %s", name, now)
	}
	return errors.Join(err, readErr)
}

// KeepRecord keeps a record of what must be taken back after a crash, and a lock
// on it, by which a running process is told from one that has died.
type KeepRecord struct{ File string }

func (KeepRecord) Op() string       { return "keep record" }
func (s KeepRecord) Object() string { return s.File }
func (s KeepRecord) String() string {
	return fmt.Sprintf("# %s keeps what a crash would leave behind", s.File)
}

func (s KeepRecord) do() (undo func() error, err error) { return holdRecord(s.File) }

// entry is a line of a record: something to take back, or that it is done.
type entry struct {
	Undo fallback.Command `json:"undo"`
	To   netip.Prefix     `json:"to,omitzero"`
	Via  netip.Addr       `json:"via,omitzero"`
	Done bool             `json:"done,omitempty"`
}

// still reports whether what an entry is about is there as it was made. A route
// is known by its destination and gateway; whatever else there is bears our
// name or a token of ours.
func (e entry) still(table []link.Entry) bool {
	return !e.To.IsValid() || slices.ContainsFunc(table, func(r link.Entry) bool {
		return r.To == e.To && r.Static && (r.Via == e.Via || r.Blackhole && !e.Via.IsValid())
	})
}
