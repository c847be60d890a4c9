package netcfg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"dsvpn/netcfg/dns"
	"dsvpn/netcfg/link"
)

// OpError is a step that failed.
type OpError struct {
	Op     string // such as "add rule"
	Object string // such as "IPv4 31000"
	Err    error
}

func (e *OpError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

func (e *OpError) Unwrap() error { return e.Err }

// UndoError says that a host could not be put back as it was.
type UndoError struct {
	Err error // all that went wrong, joined
}

func (e *UndoError) Error() string {
	return fmt.Sprintf("the host could not be put back (dsvpn cleanup tries again): %v", e.Err)
}

func (e *UndoError) Unwrap() error { return e.Err }

// Applied is what was done to a host and can be undone.
type Applied struct {
	log *slog.Logger

	mu      sync.Mutex      // held by whatever changes the host: Guard, Reach and Undo
	servers []netip.Addr    // see Reach
	facts   Facts           // that the plan was made from
	tried   map[string]bool // the steps, as commands
	done    []undo
	mended  map[string]bool // what Guard has found missing once
}

type undo struct {
	action Action
	do     func() error
	stays  bool
}

// Apply performs the steps of a plan. If one fails that is not optional, or
// ctx is done, it takes back what was done and returns the cause, joined with
// what went wrong on the way back. The error of a step is an [*OpError].
func Apply(ctx context.Context, plan Plan, log *slog.Logger) (*Applied, error) {
	a := &Applied{log: log, facts: plan.facts, tried: map[string]bool{}, mended: map[string]bool{}}
	for _, s := range plan.Steps {
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), a.Undo())
		}
		err := a.perform(s)
		switch {
		case err == nil:
			log.Debug("done", "step", s.String())
		case s.Optional:
			log.Info("skipped: "+s.Op()+" "+s.Object(), "err", err)
		default:
			return nil, errors.Join(&OpError{s.Op(), s.Object(), err}, a.Undo())
		}
	}
	return a, nil
}

func (a *Applied) perform(s Step) error {
	a.tried[s.String()] = true
	p, ok := s.Action.(performer)
	if !ok {
		return fmt.Errorf("on %s: %w", runtime.GOOS, errors.ErrUnsupported)
	}
	at, err := a.makeWay(s.Action)
	if err != nil {
		return err
	}
	do, err := p.do()
	if do == nil {
		return err
	}
	// What stands in the place of an earlier thing takes its place here, too:
	// undoing that one would take away the new one.
	earlier := slices.IndexFunc(a.done, func(u undo) bool { return replaces(s.Action, u.action) })
	if earlier < 0 {
		a.done = slices.Insert(a.done, at, undo{s.Action, do, s.Stays})
	} else {
		a.done[earlier] = undo{s.Action, do, s.Stays}
	}
	return err
}

// makeWay takes back what an action cannot stand beside, and returns the place
// for the action among what was done: the last, or that of what was in the way.
func (a *Applied) makeWay(action Action) (at int, err error) {
	r, ok := action.(Run)
	at = slices.IndexFunc(a.done, func(u undo) bool { return ok && r.excludes(u.action) })
	if at < 0 {
		return len(a.done), nil
	}
	if err := a.done[at].do(); err != nil && !gone(err) {
		return at, err
	}
	delete(a.tried, a.done[at].action.String())
	a.done = slices.Delete(a.done, at, at+1)
	return at, nil
}

// replaces reports whether an action puts something in the place of what
// another one did.
func replaces(a, b Action) bool {
	if r, ok := a.(Run); ok {
		return r.replaces(b)
	}
	x, ok1 := a.(InstallFirewall)
	y, ok2 := b.(InstallFirewall)
	return ok1 && ok2 && x.Kind == y.Kind && x.Policy.Interface == y.Policy.Interface
}

// Undo takes back what was done and need not stay, last step first. It goes on
// past errors and returns them as an [*UndoError]; a thing that is gone already
// is none. A second call does nothing.
//
// It takes no context on purpose: whatever ended the run must not end this.
func (a *Applied) Undo() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, u := range slices.Backward(a.done) {
		if u.stays {
			continue
		}
		err := u.do()
		if errors.Is(err, dns.ErrChanged) {
			a.log.Warn(u.action.Op()+" "+u.action.Object(), "err", err)
			continue
		}
		if err != nil && !gone(err) {
			errs = append(errs, &OpError{"undo: " + u.action.Op(), u.action.Object(), err})
			continue
		}
		a.log.Debug("undone", "step", u.action.String())
	}
	a.done = nil
	if len(errs) > 0 {
		return &UndoError{errors.Join(errs...)}
	}
	return nil
}

// gone reports whether an error says that a thing to remove was not there.
func gone(err error) bool { return errors.Is(err, link.ErrGone) }
