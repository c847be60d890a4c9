package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// resolveTimeout is how long the resolution of a name may take: two rounds of
// the usual 5 s a name server.
const resolveTimeout = 10 * time.Second

// resolver finds the addresses of a server, past the tunnel.
type resolver struct {
	lookupIP func(ctx context.Context, network, host string) ([]netip.Addr, error)

	mu   sync.Mutex
	last []netip.Addr // what the name stood for when it was last resolved
}

// newResolver makes a resolver that asks these name servers, one after the
// other, or those of the system if there are none.
func newResolver(mark uint32, servers []netip.AddrPort) *resolver {
	dialer := net.Dialer{Control: markControl(mark)}
	// The system's own resolver cannot mark its sockets.
	if len(servers) == 0 {
		return &resolver{lookupIP: (&net.Resolver{PreferGo: true, Dial: dialer.DialContext}).LookupNetIP}
	}
	return &resolver{lookupIP: func(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
		for i, server := range servers {
			r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, server.String())
			}}
			addrs, err = lookupWithin(ctx, share(ctx, len(servers)-i), r, network, host)
			if unknown, ok := errors.AsType[*net.DNSError](err); err == nil || ok && unknown.IsNotFound {
				break
			}
		}
		return addrs, err
	}}
}

// share is the part of the time left that each of so many tries may take.
func share(ctx context.Context, tries int) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return resolveTimeout
	}
	return time.Until(end) / time.Duration(tries)
}

func lookupWithin(ctx context.Context, limit time.Duration, r *net.Resolver, network, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return r.LookupNetIP(ctx, network, host)
}

// lookup returns the addresses of a server: what it is, if it is an address;
// what its name stands for; and failing that, what it last stood for.
func (r *resolver) lookup(ctx context.Context, server string, log *slog.Logger) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	limited, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := r.lookupIP(limited, "ip", server)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("no address for %s", server)
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		for i, addr := range addrs {
			addrs[i] = addr.Unmap()
		}
		r.last = slices.Clone(addrs)
		return addrs, nil
	}
	if len(r.last) == 0 || ctx.Err() != nil {
		return nil, fmt.Errorf("resolve %s: %w", server, err)
	}
	if log != nil {
		log.Warn("name not resolved, using the last known addresses", "server", server, "err", err)
	}
	return slices.Clone(r.last), nil
}
