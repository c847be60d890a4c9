package main

import (
	"context"
	"fmt"
	"net/netip"

	"dsvpn/netcfg"
	"dsvpn/session"
)

// probe reads the facts of this host, or makes some up for --fallback: those of
// a host of another system behind the router that GATEWAY names, else behind
// that of this host.
func (p *program) probe(o options) (netcfg.Facts, error) {
	switch {
	case o.Fallback == "" && !o.FallbackDryRun:
		return netcfg.Probe(o.Net)
	case o.Fallback == "" || !o.FallbackDryRun:
		return netcfg.Facts{}, usagef("--fallback GOOS and --fallback-dry-run go together")
	}
	var uplinks []netip.Addr
	if gateway, err := netip.ParseAddr(o.External); err == nil {
		uplinks = append(uplinks, gateway)
	} else if here, err := netcfg.Probe(o.Net); err == nil {
		for _, u := range here.Uplinks {
			uplinks = append(uplinks, u.Gateway)
		}
	}
	return netcfg.Imagine(o.Fallback, o.External, uplinks), nil
}

// findServer resolves the name of a client's server, if the host needs routes to
// its addresses.
func (p *program) findServer(ctx context.Context, o *options, facts netcfg.Facts) (err error) {
	if !facts.HasCommands() || o.Net.Role != netcfg.Client || o.Net.PointToPoint || o.Server == "" {
		return nil
	}
	client := session.NewClient(session.Config{Mark: o.Net.Mark, Logger: p.log}, o.Server, o.Port, 0)
	if o.Net.Servers, err = client.Resolve(ctx); err != nil {
		return fmt.Errorf("the host needs a route to the server before those into the tunnel, so its name must be known: %w", err)
	}
	return nil
}

// setGateway takes the router that the command line names.
func (o *options) setGateway() (err error) {
	if o.External == "" {
		return nil
	}
	if o.Net.Gateway, err = netip.ParseAddr(o.External); err != nil {
		return fmt.Errorf("GATEWAY %q is not the address of a router", o.External)
	}
	return nil
}

// printCommands answers --fallback-dry-run: what would run on the other system,
// and what would run at the end.
func (p *program) printCommands(plan netcfg.Plan) error {
	p.explain(plan)
	return p.print(plan.String() + "# at the end\n" + plan.Back())
}

// stateDir is the folder for what must outlive a crash, but not a restart of the
// system.
func stateDir(goos string) string {
	if goos == "linux" {
		return "/run/dsvpn"
	}
	return "/var/run/dsvpn"
}
