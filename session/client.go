package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// settled is how long a session must last to count as one that works, so
	// that the next attempt starts at once again.
	settled = 10 * time.Second

	// answerHint is when a user has waited long enough for the server's answer
	// to be told why there may be none.
	answerHint = 3 * time.Second

	// briefSessions in a row that the server ends before they are settled are
	// most likely the doing of another client.
	briefSessions = 3
)

// Client keeps a session to one server. It is made by [NewClient].
type Client struct {
	cfg      Config
	server   string // a name, or an IP address
	port     uint16
	limit    int
	resolver *resolver
	worked   netip.Addr // the address that the last session was made with

	mu    sync.Mutex
	round context.CancelCauseFunc // ends the present attempt, with its pause
	conn  *Conn                   // the session, if there is one
	path  string                  // to its server, when it was made
}

// NewClient makes a client of a server, which is an IPv4 address, an IPv6
// address or a name. After limit attempts that fail one after the other, the
// client gives up; 0 is never.
func NewClient(cfg Config, server string, port uint16, limit int) *Client {
	if cfg.Path == nil {
		cfg.Path = sourceFor(cfg.Mark)
	}
	return &Client{
		cfg: cfg, server: server, port: port, limit: limit,
		resolver: newResolver(cfg.Mark, cfg.NameServers),
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
	for failed, brief := 0, 0; ctx.Err() == nil; {
		round, end := context.WithCancelCause(ctx)
		c.setRound(end)

		conn, err := c.connect(round, t)
		if err == nil {
			failed = 0
			lived := c.hold(ctx, round, t, conn)
			if lived >= settled || isOurDoing(conn.Err()) {
				pause.reset()
				brief = 0
			} else if brief++; brief == briefSessions {
				t.cfg.Logger.Warn("the server ends one session after the other: has another client the same key?")
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
	if cause := context.Cause(round); errors.Is(cause, errNetworkChanged) || errors.Is(cause, errAsked) {
		t.cfg.Logger.Info("connecting again", "server", c.server, "reason", cause)
		pause.reset()
	}
}

// connect makes a session with the address of the server that answers first.
// If the handshake fails there, it goes on with the others.
func (c *Client) connect(ctx context.Context, t *tunnel) (*Conn, error) {
	addrs, err := c.resolver.lookup(ctx, c.server, t.cfg.Logger)
	if err != nil {
		return nil, err
	}
	if t.cfg.Resolved != nil {
		t.cfg.Resolved(addrs)
	}
	var targets []netip.AddrPort
	for _, addr := range inTurn(addrs, c.worked) {
		targets = append(targets, netip.AddrPortFrom(addr, c.port))
	}
	dialer := net.Dialer{Control: markControl(t.cfg.Mark)}
	dial := func(ctx context.Context, server netip.AddrPort) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", server.String())
	}
	for {
		conn, target, err := dialFirst(ctx, targets, dial)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", target, err)
		}
		session, err := t.greet(ctx, conn)
		if err == nil {
			c.worked = target.Addr()
			return session, nil
		}
		err = fmt.Errorf("%v: %w", target, err)
		targets = slices.DeleteFunc(targets, func(a netip.AddrPort) bool { return a == target })
		if ctx.Err() != nil || len(targets) == 0 {
			return nil, err
		}
		t.cfg.Logger.Info("trying the next address", "err", err)
	}
}

// greet does the handshake. It closes the connection if that fails.
func (t *tunnel) greet(ctx context.Context, conn net.Conn) (*Conn, error) {
	t.tune(conn)
	patience := time.AfterFunc(answerHint, func() {
		t.cfg.Logger.Info("no answer yet", "server", conn.RemoteAddr(),
			"hint", "a server says nothing for a while, and then closes, if the key differs or a clock is wrong")
	})
	defer patience.Stop()
	unblock := context.AfterFunc(ctx, func() { conn.Close() })
	up, down, err := clientHandshake(conn, &t.cfg)
	if !unblock() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, withClock(err, t.cfg.Now())
	}
	defer up.Wipe()
	defer down.Wipe()
	return newConn(conn, &t.cfg, &charmCodec{up}, &charmCodec{down}), nil
}

// withClock adds to a refusal what the server cannot say and we can see.
func withClock(err error, now time.Time) error {
	if isAuthError(err) && now.Before(oldestClock) {
		return fmt.Errorf("%w; our own clock is wrong: it says %s", err, now.UTC().Format(time.DateTime))
	}
	return err
}

// hold keeps conn as the session until it ends, and returns how long that
// was. What happened to the network in the round that made it ends it at once.
func (c *Client) hold(ctx, round context.Context, t *tunnel, conn *Conn) time.Duration {
	defer context.AfterFunc(ctx, func() { conn.Close(errStopped) })()
	log := t.cfg.Logger.With("remote", conn.RemoteAddr())
	start := time.Now()

	c.setConn(conn)
	defer c.setConn(nil)
	if cause := context.Cause(round); cause != nil {
		conn.Close(cause)
	}
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
	if conn != nil {
		c.path, _ = c.pathTo(conn.RemoteAddr()) // one that is not known has changed later
	}
}

// NetworkChanged tells the client that addresses or routes of this host have
// changed. If the system would now reach the server by another path than when
// the session was made, or if there is no session, the client connects again
// at once, where it would wait for something to time out.
func (c *Client) NetworkChanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.open():
		c.hurry(errNetworkChanged)
	case c.conn.Slept() != nil:
		c.conn.Close(c.conn.Slept())
	case c.moved(c.conn.RemoteAddr()):
		c.conn.Close(errPathChanged)
	}
}

// Reconnect makes the client connect again at once, from wherever it is.
func (c *Client) Reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open() {
		c.conn.Close(errAsked)
	} else {
		c.hurry(errAsked)
	}
}

// open reports whether there is a session that has not ended: one that has is
// about to be followed by a pause. The caller holds the lock.
func (c *Client) open() bool { return c.conn != nil && c.conn.Err() == nil }

// hurry ends the present attempt, with its pause, if there is one.
func (c *Client) hurry(cause error) {
	if c.round != nil {
		c.round(cause)
	}
}

// isOurDoing reports whether a session was ended so that the next may begin.
func isOurDoing(err error) bool {
	return errors.Is(err, errPathChanged) || errors.Is(err, errNetworkChanged) ||
		errors.Is(err, errAsked) || errors.Is(err, errSuspended)
}

// moved reports whether a connection would be made by another path now. While
// there is no way to the server it has not: the old one may come back.
func (c *Client) moved(server net.Addr) bool {
	path, err := c.pathTo(server)
	return err == nil && path != c.path
}

func (c *Client) pathTo(server net.Addr) (string, error) {
	tcp, ok := server.(*net.TCPAddr)
	if !ok {
		return "", errors.ErrUnsupported
	}
	return c.cfg.Path(tcp.AddrPort().Addr().Unmap())
}

// sourceFor returns a function that asks the system for the source address of
// packets to a server. Connecting a UDP socket sends nothing: it only looks up
// the route, here that of packets with the mark.
func sourceFor(mark uint32) func(netip.Addr) (string, error) {
	dialer := net.Dialer{Control: markControl(mark)}
	return func(server netip.Addr) (string, error) {
		const anyPort = 9 // discard
		conn, err := dialer.Dial("udp", netip.AddrPortFrom(server, anyPort).String())
		if err != nil {
			return "", err
		}
		defer conn.Close()
		return conn.LocalAddr().(*net.UDPAddr).IP.String(), nil
	}
}
