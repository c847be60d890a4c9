//go:build !linux

package main

import "dsvpn/netcfg"

func (p *program) harden(options) {}

func (p *program) dropCapabilities(options, netcfg.Needs) {}

func (p *program) restrict(options, netcfg.Needs) {}
