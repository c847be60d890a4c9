package netcfg

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"dsvpn/netcfg/firewall"
)

// mender is an action that can be made good when somebody has undone it.
type mender interface {
	// mend does again what is missing, and reports whether anything was.
	mend() (missing bool, err error)
}

const (
	// settle is how long the host is given to come to rest after a change: one
	// move of an uplink, or one reload of a firewall, is a handful of events.
	settle = 200 * time.Millisecond
	// patience is the longest pause between two repairs. Pauses double up to
	// it while somebody goes on taking away what is put back.
	patience = 30 * time.Second
	// rounds is the time between looks at what announces no changes: the older
	// packet filter, behind iptables-legacy.
	rounds = 700 * time.Millisecond
	// peace is how long nothing of ours must be taken away for a repair to
	// count as a new one.
	peace = 10 * time.Second
)

// Guard keeps the host as the plan wants it until ctx is done. What somebody
// else takes away is put back; when default routes change, the plan is made
// anew and the host follows it. When the host's own ways to others have changed,
// its default routes or addresses, changed is called.
//
// The watch begins at once. The function that Guard returns does the work, and
// must end before Undo is called.
func (a *Applied) Guard(ctx context.Context, cfg Config, changed func()) (work func(), err error) {
	h := a.facts.on()
	events, err := h.watch(ctx)
	if err != nil {
		return nil, err
	}
	known, err := h.waysOut(cfg.Interface)
	if err != nil {
		return nil, err
	}
	silent := a.hasSilentParts()
	return func() {
		a.guard(ctx, cfg, events, silent, func() {
			// Most of what happens on a host is nothing to a connection.
			if now, err := h.waysOut(cfg.Interface); err == nil && now != known {
				known = now
				changed()
			}
		})
	}, nil
}

// guard repairs the host after each event, and in rounds if parts of it are
// silent, and calls after each time.
func (a *Applied) guard(ctx context.Context, cfg Config, events <-chan struct{}, silent bool, after func()) {
	var (
		pause = settle
		last  time.Time // of a repair
		round <-chan time.Time
	)
	if silent {
		ticker := time.NewTicker(rounds)
		defer ticker.Stop()
		round = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-round:
			if time.Since(last) < pause {
				continue
			}
		case _, ok := <-events:
			if !ok {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
		if a.repair(cfg) {
			pause, last = min(2*pause, patience), time.Now()
		} else if time.Since(last) > peace {
			pause = settle
		}
		after()
	}
}

// repair has the host follow its network, and puts back what is missing of the
// plan. It reports whether anything was.
func (a *Applied) repair(cfg Config) (any bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.follow(cfg)
	return a.mend()
}

// Reach makes the ways to the addresses of the server, and takes away those to
// others, where the plan has such ways. It is for a client whose server's name
// has come to mean other addresses.
func (a *Applied) Reach(cfg Config, servers []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.facts.HasCommands() || slices.Equal(servers, a.servers) || a.servers == nil && slices.Equal(servers, cfg.Servers) {
		return
	}
	a.servers = slices.Clone(servers)
	a.follow(cfg)
}

// hasSilentParts reports whether something was done that can be undone without
// the kernel telling anybody.
func (a *Applied) hasSilentParts() bool {
	return slices.ContainsFunc(a.done, func(u undo) bool {
		fw, ok := u.action.(InstallFirewall)
		return ok && (fw.Kind == FirewallIPTables ||
			slices.ContainsFunc(fw.Neighbours, func(c firewall.Chain) bool { return c.Legacy }))
	})
}

// follow makes the plan anew from the host's present default routes and
// rules of other tunnels, and changes what is different.
func (a *Applied) follow(cfg Config) {
	facts, err := a.facts.on().refresh(a.facts, cfg)
	if err != nil {
		a.log.Debug("facts not read", "err", err)
		return
	}
	if a.servers != nil {
		cfg.Servers = a.servers
	}
	plan, err := MakePlan(cfg, facts)
	if err != nil {
		// Such as no default route for now: what there is stays.
		a.log.Debug("no new plan", "err", err)
		return
	}
	a.facts = facts
	if err := a.update(plan); err != nil {
		a.log.Warn("the host does not follow a change of its network", "err", err)
	}
}

// update turns the host from the plan that is applied to another: first comes
// what is new, then goes what is no longer wanted. If something new fails, all
// that was there stays, and the next call tries again.
func (a *Applied) update(plan Plan) error {
	var errs []error
	wanted := map[string]bool{}
	for _, s := range plan.Steps {
		wanted[s.String()] = true
		if a.tried[s.String()] {
			continue
		}
		a.log.Info("the network has changed", "now", s.Op()+" "+s.Object())
		if err := a.perform(s); err != nil && !s.Optional {
			delete(a.tried, s.String())
			errs = append(errs, &OpError{s.Op(), s.Object(), err})
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	a.tried = wanted
	a.done = slices.DeleteFunc(a.done, func(u undo) bool {
		if wanted[u.action.String()] {
			return false
		}
		if err := u.do(); err != nil && !gone(err) {
			errs = append(errs, &OpError{"undo: " + u.action.Op(), u.action.Object(), err})
		}
		return true
	})
	return errors.Join(errs...)
}

// mend puts back what is missing of what was done, and reports whether anything
// was, or could not be told. It says so once for each thing.
func (a *Applied) mend() (any bool) {
	for _, u := range a.done {
		m, ok := u.action.(mender)
		if !ok {
			continue
		}
		missing, err := m.mend()
		if gone(err) {
			return any // the interface is: the device ends the run
		}
		if !missing && err == nil {
			continue
		}
		any = true
		name := u.action.Op() + " " + u.action.Object()
		switch {
		case a.mended[name]:
		case err != nil:
			a.log.Warn("what somebody removed cannot be put back (said once): "+name, "err", err)
		default:
			a.log.Warn("somebody removed it, it is put back (said once): " + name)
		}
		a.mended[name] = true
	}
	return any
}
