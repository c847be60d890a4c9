package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"dsvpn/netcfg"
	"dsvpn/session"
	"dsvpn/tun"
)

// up brings a tunnel up, and takes it down when ctx ends. Everything that can
// be found wrong is found before the host changes, which is from the opening
// of the interface on.
func (p *program) up(ctx context.Context, o options, key session.Key) error {
	if !o.DryRun && !o.FallbackDryRun {
		if err := checkPrivilege(); err != nil {
			return err
		}
	}
	prods := prods() // from now on none of them ends the process
	facts, err := p.probe(o)
	if err != nil {
		return err
	}
	if err := p.findServer(ctx, &o, facts); err != nil {
		return err
	}
	plan, err := p.plan(&o, facts)
	if err != nil {
		return err
	}
	if o.FallbackDryRun {
		return p.printCommands(plan)
	}
	if o.DryRun {
		return p.printPlan(o, plan)
	}
	p.explain(plan)
	end, err := p.newEnd(ctx, o)
	if err != nil {
		return err
	}
	defer end.close()
	status := session.NewStatus()
	health, err := p.newHealth(ctx, o, status)
	if err != nil {
		return err
	}
	defer health.close()

	dev, err := tun.Open(ctx, o.Net.Interface, o.Net.MTU, p.deviceOptions(o)...)
	if err != nil {
		return err
	}
	defer dev.Close()
	p.log.Info(fmt.Sprintf("Interface: [%s]", dev.Name()))
	o.Net.Interface = dev.Name()
	if plan, err = netcfg.MakePlan(o.Net, facts); err != nil {
		return err
	}
	health.attend(ctx, dev.Name())
	end.prepare(ctx, session.Config{
		Key: key, Device: dev, MTU: o.Net.MTU,
		Mark: o.Net.Mark, NameServers: plan.NameServers, Congestion: o.Net.Congestion,
		Timeout: o.Timeout, Replays: replaysFile(o.Net.StateDir, key), Path: netcfg.PathTo(o.Net.Mark),
		Status: status, Logger: p.log,
	})
	return p.during(ctx, o, dev, plan, end, prods)
}

// deviceOptions returns how the interface is to be opened.
func (p *program) deviceOptions(o options) []tun.Option {
	if o.Offload == offloadOff {
		return nil
	}
	return []tun.Option{tun.Offload(func(err error) {
		p.log.Info("not all offloads are possible: packets go one by one", "err", err)
	})}
}

// plan settles what the options leave to the host, and makes the plan for an
// interface that does not exist yet.
func (p *program) plan(o *options, facts netcfg.Facts) (netcfg.Plan, error) {
	if o.External != "" && o.Net.Role == netcfg.Server {
		if name, ok := facts.UplinkNamed(o.External); ok {
			o.Net.Uplink = name
		} else {
			p.log.Info("EXTERNAL is neither an interface nor an address of this host: ignored", "value", o.External)
		}
	}
	if facts.HasCommands() && o.Net.Role == netcfg.Client {
		if err := o.setGateway(); err != nil {
			return netcfg.Plan{}, err
		}
	}
	cfg := o.Net
	if cfg.Interface == tun.Auto {
		cfg.Interface = facts.FreeInterface()
	}
	return netcfg.MakePlan(cfg, facts)
}

// printPlan answers --dry-run: what would be done, as one would type it.
func (p *program) printPlan(o options, plan netcfg.Plan) error {
	p.explain(plan)
	return p.print(plan.Opening(o.Net.MTU) + plan.String())
}

func (p *program) explain(plan netcfg.Plan) {
	for _, note := range plan.Notes {
		p.log.Info(note)
	}
	for _, warning := range plan.Warnings {
		p.log.Warn(warning)
	}
}

// during applies a plan, runs an end of the session while the host is guarded,
// and takes back what the plan did and the interface, however that ended.
func (p *program) during(ctx context.Context, o options, dev tun.Device, plan netcfg.Plan, end end, prods <-chan os.Signal) (err error) {
	removed, err := netcfg.Sweep(o.Net.Interface, plan, o.Net.StateDir)
	for _, what := range removed {
		p.log.Info("removed what a former run had left", "what", what)
	}
	if err != nil {
		return err
	}
	p.dropCapabilities(o, plan.Needs(o.Net))
	applied, err := netcfg.Apply(ctx, plan, p.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.takeDown(o, dev, plan, applied)) }()
	defer p.attend(ctx, o, plan, applied, end, prods)() // before the host is put back
	return end.run(ctx)
}

// takeDown takes back what a plan did, and the interface.
func (p *program) takeDown(o options, dev tun.Device, plan netcfg.Plan, applied *netcfg.Applied) error {
	var err error
	if plan.RunsCommands() { // they speak of the interface, which must be there
		err = errors.Join(applied.Undo(), dev.Close())
	} else {
		// The kernel takes its time to remove an interface: that goes on while
		// the rest is undone. Packets that miss it meet the unreachable route.
		closed := make(chan error, 1)
		go func() { closed <- dev.Close() }()
		err = errors.Join(applied.Undo(), <-closed)
	}
	switch {
	case err != nil:
	case o.Net.KeepClosed && o.Net.Role == netcfg.Client:
		p.log.Info("the way out of this host stays closed until the next start, or dsvpn cleanup")
	default:
		p.log.Info("routes, rules and addresses are removed: the host is as it was")
	}
	p.log.Info("Done.")
	return err
}

// attend shuts the program in, guards the host, tells an end of what happens to
// it, and passes on what an operator asks for, until the returned function is
// called.
func (p *program) attend(ctx context.Context, o options, plan netcfg.Plan, applied *netcfg.Applied, end end, prods <-chan os.Signal) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	// The watch begins before the process is shut in: it may not be able to later.
	if work, err := applied.Guard(ctx, o.Net, end.networkChanged); err != nil {
		p.log.Warn("nobody watches over the host", "err", err)
	} else {
		all.Go(work)
	}
	end.attach(func(servers []netip.Addr) { applied.Reach(o.Net, servers) })
	all.Go(func() { p.restrict(ctx, o, plan.Needs(o.Net)) })
	all.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-prods:
				end.prod()
			case <-ctx.Done():
			}
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}
