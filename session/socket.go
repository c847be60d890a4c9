package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// keepAliveProbes is how many probes without an answer tell the system that
// the path is dead. They matter where there is no TCP_USER_TIMEOUT and the
// heartbeats have been acknowledged.
const keepAliveProbes = 3

// control is called with every socket before it is connected or bound.
type control = func(network, address string, c syscall.RawConn) error

// tuneTCP sets the options that every connection has.
func tuneTCP(conn *net.TCPConn, times timing) error {
	return errors.Join(
		// A packet must not wait for the acknowledgement of the one before.
		conn.SetNoDelay(true),
		conn.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Count: keepAliveProbes,
			Idle: times.timeout / 2, Interval: times.timeout / 2 / keepAliveProbes,
		}),
		tuneSystem(conn, times),
	)
}

// Listen listens for clients of [Serve] on an address of this host; an empty
// address means all of them, IPv4 and IPv6.
func Listen(ctx context.Context, cfg Config, address string, port uint16) (net.Listener, error) {
	lc := net.ListenConfig{Control: listenControl(cfg.Mark)}
	address = strings.Trim(address, "[]")
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, listenHint(err, address, port))
	}
	return l, nil
}

// listenHint says what an operator can do about an error of Listen.
func listenHint(err error, address string, port uint16) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("; another program listens on port %d: stop it, or choose another port", port)
	case errors.Is(err, syscall.EACCES) && port < 1024:
		return "; ports below 1024 need root or CAP_NET_BIND_SERVICE: start with that (in a container: --cap-add=NET_BIND_SERVICE; " +
			"in Kubernetes: securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}), or choose another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("; %s is no address of this host: choose one that is, or none to listen on all", address)
	}
	return ""
}
