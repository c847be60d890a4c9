//go:build !linux && !openbsd

package main

import (
	"context"

	"dsvpn/netcfg"
)

func (p *program) harden(options) {}

func (p *program) dropCapabilities(options, netcfg.Needs) {}

func (p *program) restrict(context.Context, options, netcfg.Needs) {}
