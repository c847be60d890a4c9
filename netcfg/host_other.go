//go:build !linux

package netcfg

import (
	"errors"
	"fmt"
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
