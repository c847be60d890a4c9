package session

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

const (
	// dialTimeout is how long all addresses of the server together may take
	// to answer a SYN: three tries of the system (1, 3, 7 s).
	dialTimeout = 10 * time.Second

	// dialDelay is how long one address is ahead of the next, the
	// "Connection Attempt Delay" of RFC 8305, section 5.
	dialDelay = 250 * time.Millisecond
)

// dialFirst connects to whichever of several addresses answers first, in the
// way of RFC 8305 (Happy Eyeballs): each attempt starts a moment after the one
// before it, or when that has failed. Its error is that of the attempt that
// failed last.
func dialFirst(ctx context.Context, addrs []netip.AddrPort,
	dial func(context.Context, netip.AddrPort) (net.Conn, error)) (conn net.Conn, addr netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	type result struct {
		net.Conn
		addr netip.AddrPort
		err  error
	}
	results := make(chan result)
	running := 0
	next := time.NewTimer(0)
	defer next.Stop()
	for rest := addrs; conn == nil && (running > 0 || len(rest) > 0); {
		select {
		case <-next.C:
			if len(rest) == 0 {
				continue
			}
			go func(addr netip.AddrPort) {
				conn, err := dial(ctx, addr)
				results <- result{conn, addr, err}
			}(rest[0])
			rest = rest[1:]
			running++
			next.Reset(dialDelay)
		case r := <-results:
			running--
			conn, addr, err = r.Conn, r.addr, r.err
			if err != nil {
				next.Reset(0)
			}
		}
	}
	// The others are told to end, and those that connect all the same are not
	// wanted. Nobody has sent anything yet.
	cancel()
	for ; running > 0; running-- {
		if r := <-results; r.err == nil {
			r.Close()
		}
	}
	return conn, addr, err
}

// inTurn puts addresses into the order in which they are tried: that which
// worked last, then one family and the other in turn, beginning with that of
// the first (RFC 8305, section 4).
func inTurn(addrs []netip.Addr, worked netip.Addr) []netip.Addr {
	var families [2][]netip.Addr
	for _, a := range addrs {
		i := 0
		if a.Is4() != addrs[0].Is4() {
			i = 1
		}
		families[i] = append(families[i], a)
	}
	ordered := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(families[0]), len(families[1])) {
		for _, f := range families {
			if i < len(f) {
				ordered = append(ordered, f[i])
			}
		}
	}
	if i := slices.Index(ordered, worked); i > 0 {
		ordered = slices.Insert(slices.Delete(ordered, i, i+1), 0, worked)
	}
	return ordered
}
