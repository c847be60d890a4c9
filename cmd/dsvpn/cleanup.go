package main

import (
	"context"
	"runtime"

	"dsvpn/netcfg"
)

// cleanup removes what processes that were killed have left on this host, and
// nothing that belongs to one that is running.
func (p *program) cleanup(context.Context) error {
	removed, err := netcfg.Sweep("", netcfg.Plan{}, stateDir(runtime.GOOS))
	for _, what := range removed {
		p.log.Info("removed", "what", what)
	}
	if err == nil && len(removed) == 0 {
		p.log.Info("nothing to clean up")
	}
	return err
}
