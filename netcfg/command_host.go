package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
)

// host is where facts come from that may change.
type host interface {
	// refresh reads again what may change while a tunnel is up.
	refresh(Facts, Config) (Facts, error)
	// watch sends a value after the network of the host has changed.
	watch(context.Context) (<-chan struct{}, error)
	// waysOut tells how the host reaches others, for comparison: by its default
	// routes and its addresses, but for those of one interface.
	waysOut(except string) (string, error)
}

// on is the host that the facts are those of.
func (f Facts) on() host {
	if f.host != nil {
		return byCommands{f.host}
	}
	return thisHost{}
}

// byCommands is a host that is set up with commands.
type byCommands struct{ commandHost }

// probeWith reads the facts of a host with commands. It changes nothing.
func probeWith(h commandHost, goos string, cfg Config) (f Facts, err error) {
	f = Facts{System: goos, host: h, Sysctls: map[string]SysctlFact{}}
	if f.Interfaces, err = h.Interfaces(); err != nil {
		return f, err
	}
	table, err := h.Table()
	if err != nil {
		return f, err
	}
	f.Uplinks = link.Defaults(table)
	if f.HostRoutes, err = hostRoutes(table, cfg.StateDir); err != nil {
		return f, err
	}
	// Where the kernel has IPv6, the loopback interface has an address of it.
	_, _, f.HasIPv6 = f.interfaceWith(func(p netip.Prefix) bool { return p.Addr().Is6() })
	f.NewIPv6 = f.HasIPv6
	if sys, ok := fallback.For(goos); ok && cfg.Role == Server && !cfg.PointToPoint && cfg.Firewall != FirewallNone {
		f.Unmet = unmet(h, sys)
	}
	return f, nil
}

// hostRoutes are the addresses that an administrator has made routes to, but
// for those that a process of ours has, or has left.
func hostRoutes(table []link.Entry, stateDir string) (addrs []netip.Addr, err error) {
	var ours []netip.Prefix
	err = eachRecord(stateDir, func(r record) error {
		for _, e := range r.Left {
			ours = append(ours, e.To)
		}
		return nil
	})
	for _, e := range table {
		if e.To.IsSingleIP() && e.Static && !e.Scoped && !slices.Contains(ours, e.To) {
			addrs = append(addrs, e.To.Addr())
		}
	}
	return addrs, err
}

// unmet asks whether the host has what address translation takes, and returns
// what it has not.
func unmet(h fallback.Runner, sys fallback.System) (without []string) {
	for _, need := range sys.Needs {
		said, err := fallback.Do(h, fallback.Command{Args: strings.Fields(need.Ask)})
		switch {
		case err != nil:
			without = append(without, err.Error())
		case !strings.Contains(said, need.Says):
			without = append(without, need.Else)
		}
	}
	return without
}

func (h byCommands) refresh(f Facts, _ Config) (Facts, error) {
	interfaces, err := h.Interfaces()
	if err != nil {
		return f, err
	}
	table, err := h.Table()
	if err != nil {
		return f, err
	}
	f.Interfaces, f.Uplinks = interfaces, link.Defaults(table)
	return f, nil
}

func (h byCommands) watch(ctx context.Context) (<-chan struct{}, error) { return h.Watch(ctx) }

func (h byCommands) waysOut(except string) (string, error) {
	table, err := h.Table()
	if err != nil {
		return "", err
	}
	interfaces, err := h.Interfaces()
	if err != nil {
		return "", err
	}
	return describeWays(link.Defaults(table), interfaces, except), nil
}

// describeWays leaves out addresses that only a link knows, as each container's
// has.
func describeWays(uplinks []link.Uplink, interfaces []link.Interface, except string) string {
	var addrs []netip.Prefix
	for _, i := range interfaces {
		for _, a := range i.Addrs {
			if i.Name != except && !a.Addr().IsLinkLocalUnicast() {
				addrs = append(addrs, a)
			}
		}
	}
	return fmt.Sprint(uplinks, addrs)
}

// sweepWith removes what processes that are no more have left on a host with
// commands: what their records have and the host still has in that way, and
// parameters that nobody needs any more. Routes through their interfaces went
// with these.
func sweepWith(h commandHost, stateDir string) (removed []string, err error) {
	alive := map[string]bool{}
	table, err := h.Table()
	if err != nil {
		return nil, err
	}
	err = eachRecord(stateDir, func(r record) error {
		if alive[r.Interface] = r.Alive; r.Alive {
			return nil
		}
		swept, err := r.takeBack(h, table)
		removed = append(removed, swept...)
		return err
	})
	restored, restoreErr := parameterStore(h, stateDir).Sweep(func(_, holder string) bool { return !alive[holder] })
	for _, name := range restored {
		removed = append(removed, "sysctl "+name)
	}
	if stateDir != "" {
		os.Remove(stateDir) // fails, as it should, while a file is in it
	}
	return removed, errors.Join(err, restoreErr)
}

// takeBack undoes what a record has, last first, and removes the record if that
// is all.
func (r record) takeBack(on fallback.Runner, table []link.Entry) (removed []string, err error) {
	var errs []error
	for _, e := range slices.Backward(r.Left) {
		if !e.still(table) {
			continue
		}
		switch err := takeBack(on, r.file.Name(), e); {
		case err == nil:
			removed = append(removed, e.Undo.String())
		case !gone(err):
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, os.Remove(r.file.Name()))
	}
	return removed, errors.Join(errs...)
}
