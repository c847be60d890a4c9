//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package netcfg

import (
	"context"
	"runtime"

	"dsvpn/fallback"
	"dsvpn/netcfg/link"
)

// realHost runs commands and asks the routing socket.
type realHost struct{ fallback.Host }

func (realHost) Interfaces() ([]link.Interface, error) { return link.Interfaces() }
func (realHost) Table() ([]link.Entry, error)          { return link.Table() }

func (realHost) Watch(ctx context.Context) (<-chan struct{}, error) { return link.Watch(ctx) }

// Probe reads the facts that a plan for cfg depends on. It changes nothing.
func Probe(cfg Config) (Facts, error) { return probeWith(realHost{}, runtime.GOOS, cfg) }

// Sweep removes what processes that were killed have left on the host, and says
// what that was. What belongs to a process that runs stays.
func Sweep(_ string, _ Plan, stateDir string) (removed []string, err error) {
	return sweepWith(realHost{}, stateDir)
}
