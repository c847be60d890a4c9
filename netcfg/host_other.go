//go:build !linux

package netcfg

import (
	"context"
	"errors"
	"net/netip"

	"dsvpn/netcfg/firewall"
)

// firewalls are none: the tables of commands have what there is.
var firewalls map[FirewallKind]firewall.Firewall

// thisHost is for facts that nobody has read from a host.
type thisHost struct{}

func (thisHost) refresh(f Facts, _ Config) (Facts, error) { return f, errors.ErrUnsupported }

func (thisHost) waysOut(string) (string, error) { return "", errors.ErrUnsupported }

func (thisHost) watch(context.Context) (<-chan struct{}, error) { return nil, errors.ErrUnsupported }

// PathTo returns nil: the way to an address is known on Linux only so far.
func PathTo(uint32) func(netip.Addr) (string, error) { return nil }
