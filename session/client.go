package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// dialTimeout is how long one address of the server may take to answer a
	// SYN: three tries of the system (1, 3, 7 s).
	dialTimeout = 10 * time.Second

	// settled is how long a session must last to count as one that works, so
	// that the next attempt starts at once again.
	settled = 10 * time.Second
)

// Client keeps a session to one server. It is made by [NewClient].
type Client struct {
	cfg      Config
	server   string // a name, or an IP address
	port     uint16
	limit    int
	resolver *resolver
	source   func(server string) (net.IP, error) // see sourceFor

	mu    sync.Mutex
	round context.CancelCauseFunc // ends the present attempt, with its pause
	conn  *Conn                   // the session, if there is one
}

// NewClient makes a client of a server, which is an IPv4 address, an IPv6
// address or a name. After limit attempts that fail one after the other, the
// client gives up; 0 is never.
func NewClient(cfg Config, server string, port uint16, limit int) *Client {
	return &Client{
		cfg: cfg, server: server, port: port, limit: limit,
		resolver: newResolver(cfg.Mark, cfg.NameServers),
		source:   sourceFor(cfg.Mark),
	}
}

// Resolve returns the addresses of the server. If its name cannot be resolved
// but could be before, they are those of the last time.
func (c *Client) Resolve(ctx context.Context) ([]netip.Addr, error) {
	return c.resolver.lookup(ctx, c.server, c.cfg.Logger)
}

// Run connects, connects again when the session ends, and so on, until ctx is
// done and it returns nil, until the limit is reached and it returns a
// [*GaveUpError], or until the device fails. It closes its connection before
// it returns; the device stays open. It must not run twice at a time.
func (c *Client) Run(ctx context.Context) error {
	cfg, err := c.cfg.complete()
	if err != nil {
		return err
	}
	t, ctx, err := openTunnel(ctx, cfg)
	if err != nil {
		return err
	}
	if err := c.connectForever(ctx, t); err != nil {
		t.fail(err)
	}
	return t.close(ctx)
}

// connectForever returns nil when ctx is done.
func (c *Client) connectForever(ctx context.Context, t *tunnel) error {
	var pause backoff
	for failed := 0; ctx.Err() == nil; {
		round, end := context.WithCancelCause(ctx)
		c.setRound(end)

		conn, err := c.connect(round, t)
		if err == nil {
			failed = 0
			lived := c.hold(ctx, t, conn)
			if lived >= settled || conn.Err() == errPathChanged {
				pause.reset()
			}
		} else if round.Err() == nil {
			failed++
			if failed == c.limit {
				end(nil)
				return &GaveUpError{Attempts: failed, Err: err}
			}
		}
		if ctx.Err() == nil {
			c.rest(round, t, &pause, err)
		}
		end(nil)
	}
	return nil
}

// rest waits before the next attempt, unless the network changed meanwhile.
// err is why the last attempt failed, if it did.
func (c *Client) rest(round context.Context, t *tunnel, pause *backoff, err error) {
	if round.Err() == nil {
		wait := pause.next(isAuthError(err))
		if err != nil {
			t.cfg.Logger.Warn("connection failed", "server", c.server, "err", err, "retry_in", wait.Round(time.Millisecond))
		}
		sleep(round, wait)
	}
	if errors.Is(context.Cause(round), errNetworkChanged) {
		t.cfg.Logger.Info("network changed, connecting again", "server", c.server)
		pause.reset()
	}
}

// connect tries the addresses of the server in turn. Its error is that of the
// last one.
func (c *Client) connect(ctx context.Context, t *tunnel) (*Conn, error) {
	addrs, err := c.resolver.lookup(ctx, c.server, t.cfg.Logger)
	if err != nil {
		return nil, err
	}
	if t.cfg.Resolved != nil {
		t.cfg.Resolved(addrs)
	}
	for i, addr := range addrs {
		target := netip.AddrPortFrom(addr, c.port)
		conn, connErr := t.dial(ctx, target)
		if connErr == nil {
			return conn, nil
		}
		err = fmt.Errorf("%v: %w", target, connErr)
		if ctx.Err() != nil {
			break
		}
		if i < len(addrs)-1 {
			t.cfg.Logger.Info("trying the next address", "err", err)
		}
	}
	return nil, err
}

// dial connects to one address and does the handshake.
func (t *tunnel) dial(ctx context.Context, server netip.AddrPort) (*Conn, error) {
	dialer := net.Dialer{Timeout: dialTimeout, Control: markControl(t.cfg.Mark)}
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	t.tune(conn)
	unblock := context.AfterFunc(ctx, func() { conn.Close() })
	up, down, err := clientHandshake(conn, &t.cfg)
	if !unblock() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, withClock(err, t.cfg.Now())
	}
	return newConn(conn, t.cfg.MTU, &charmCodec{up}, &charmCodec{down}), nil
}

// withClock adds to a refusal what the server cannot say and we can see.
func withClock(err error, now time.Time) error {
	if isAuthError(err) && now.Before(oldestClock) {
		return fmt.Errorf("%w; our own clock is wrong: it says %s", err, now.UTC().Format(time.DateTime))
	}
	return err
}

// hold keeps conn as the session until it ends, and returns how long that
// was.
func (c *Client) hold(ctx context.Context, t *tunnel, conn *Conn) time.Duration {
	defer context.AfterFunc(ctx, func() { conn.Close(errStopped) })()
	log := t.cfg.Logger.With("remote", conn.RemoteAddr())
	start := time.Now()

	c.setConn(conn)
	defer c.setConn(nil)
	// A frame proves that we did not only repeat an old handshake: with it a
	// server of ours drops the session that was there before.
	if err := conn.Send(empty); err != nil {
		conn.Close(err)
	}
	t.session.Store(conn)
	t.cfg.Status.connected()
	log.Info("Connected")
	conn.Close(t.receive(conn, nil))
	t.session.Store(nil)

	lived := time.Since(start)
	log.Info("session ended", "reason", conn.Err(), "after", lived.Round(time.Millisecond), "stats", conn.Stats())
	return lived
}

func (c *Client) setRound(end context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.round = end
}

func (c *Client) setConn(conn *Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
}

// NetworkChanged tells the client that addresses or routes of this host have
// changed. If the system would now reach the server from another address than
// that of the session, or if there is no session, the client connects again at
// once, where it would wait for something to time out.
func (c *Client) NetworkChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn != nil:
		if c.moved(c.conn.LocalAddr(), c.conn.RemoteAddr()) {
			c.conn.Close(errPathChanged)
		}
	case c.round != nil:
		c.round(errNetworkChanged)
	}
}

// moved reports whether a connection from another address would be made now.
// While there is no way to the server it has not: the old one may come back.
func (c *Client) moved(local, server net.Addr) bool {
	source, err := c.source(server.String())
	tcp, ok := local.(*net.TCPAddr)
	return err == nil && ok && !source.Equal(tcp.IP)
}

// sourceFor returns a function that asks the system for the source address of
// packets to a server. Connecting a UDP socket sends nothing: it only looks up
// the route, here that of packets with the mark.
func sourceFor(mark uint32) func(server string) (net.IP, error) {
	dialer := net.Dialer{Control: markControl(mark)}
	return func(server string) (net.IP, error) {
		conn, err := dialer.Dial("udp", server)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).IP, nil
	}
}
