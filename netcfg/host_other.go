//go:build !linux

package netcfg

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"dsvpn/netcfg/firewall"
)

var firewalls map[FirewallKind]firewall.Firewall

// Probe reads the facts that a plan depends on, which it can on Linux only so
// far.
func Probe(Config) (Facts, error) {
	return Facts{}, fmt.Errorf("setting up a host with %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Sweep removes what a crashed process has left, which it can on Linux only so
// far.
func Sweep(string, Plan, string) ([]string, error) {
	return nil, fmt.Errorf("cleaning up a host with %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Watch tells about changes of addresses and routes, which it can on Linux
// only so far.
func Watch(context.Context) (<-chan struct{}, error) {
	return nil, fmt.Errorf("watching the network with %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// PathTo returns nil: the way to an address is known on Linux only so far.
func PathTo(uint32) func(netip.Addr) (string, error) { return nil }

func waysOut(string) (string, error) { return "", errors.ErrUnsupported }

func (f Facts) refresh(Config) (Facts, error) { return f, errors.ErrUnsupported }
