package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// maxPending is how many connections may exist besides the session. Each
	// takes a few kilobytes until its handshake is done. A full house empties
	// within helloTimeout.
	maxPending = 64

	// proofTimeout is how long a newcomer may take for its first frame while
	// another session is active. Our client sends it at once, the C client
	// with its first packet.
	proofTimeout = 10 * time.Second

	// acceptPause is waited after accept fails, as it does while descriptors
	// are short.
	acceptPause = 200 * time.Millisecond
)

// Serve serves the clients that come to l, one at a time, until ctx is done
// and it returns nil, or until the device or the listener fails. It closes l
// and all connections before it returns; the device stays open.
//
// The latest client that has proved itself has the session. Without a session
// the handshake is proof enough. With one, since a handshake may be a replay
// of a recorded one, the newcomer must also send a frame, and the old session
// goes on until then.
func Serve(ctx context.Context, cfg Config, l net.Listener) error {
	defer l.Close()
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	t, ctx, err := openTunnel(ctx, cfg)
	if err != nil {
		return err
	}
	s := &server{tunnel: t, seen: newReplays(maxReplays), conns: make(map[net.Conn]bool)}
	defer context.AfterFunc(ctx, func() { l.Close(); s.closeAll() })()

	if err := s.accept(ctx, l); err != nil {
		t.fail(err)
	}
	s.handlers.Wait()
	return t.close(ctx)
}

// server is a running Serve.
type server struct {
	*tunnel
	seen     *replays
	handlers sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	conns   map[net.Conn]bool // all that are open
	waiting []*Conn           // handshake done, first frame not seen; newest last
}

// accept starts a handler for each connection. It returns nil when ctx is
// done.
func (s *server) accept(ctx context.Context, l net.Listener) error {
	for failing := false; ; {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept: %w", err)
		case err != nil:
			if !failing {
				s.cfg.Logger.Warn("accept failed, trying again", "err", err)
			}
			failing = true
			sleep(ctx, acceptPause)
			continue
		case !s.enter(conn):
			s.cfg.Logger.Info("too many connections", "remote", conn.RemoteAddr(), "limit", maxPending)
			conn.Close()
		default:
			s.handlers.Go(func() {
				defer s.exit(conn)
				s.handle(conn)
			})
		}
		failing = false
	}
}

// enter takes note of a connection, and reports whether there is room for it.
func (s *server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(s.conns) > maxPending {
		return false
	}
	s.conns[conn] = true
	return true
}

func (s *server) exit(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// closeAll ends every connection, and lets no more in.
func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if c := s.session.Load(); c != nil {
		c.Close(errStopped)
	}
	for _, c := range s.waiting {
		c.Close(errStopped)
	}
	for conn := range s.conns {
		conn.Close()
	}
}

// handle takes one connection from its first byte to its last.
func (s *server) handle(conn net.Conn) {
	log := s.cfg.Logger.With("remote", conn.RemoteAddr())
	s.tune(conn)
	up, down, err := serverHandshake(conn, &s.cfg, s.seen)
	if err != nil {
		logRefusal(log, err)
		return
	}
	c := newConn(conn, s.cfg.MTU, &charmCodec{down}, &charmCodec{up})
	up.Wipe()
	down.Wipe()
	defer c.Close(errStopped)

	proof := s.admit(c)
	defer proof.Stop()
	packets, err := c.Receive()
	if err == nil {
		err = s.takeOver(c)
	}
	if err == nil {
		err = s.receive(c, packets)
	}
	c.Close(err)
	if s.leave(c) || c.Err() == errReplaced {
		log.Info("Client disconnected", "reason", c.Err(), "stats", c.Stats())
	} else {
		log.Info("newcomer dropped", "reason", c.Err())
	}
}

// logRefusal logs a failed handshake. The internet knocks on every door, so
// none of this is a warning, and who says nothing is not news at all.
func logRefusal(log *slog.Logger, err error) {
	level := slog.LevelInfo
	truncated := (*TruncatedError)(nil)
	if errors.As(err, &truncated) && truncated.Got == 0 || errors.Is(err, net.ErrClosed) {
		level = slog.LevelDebug
	}
	log.Log(context.Background(), level, "handshake failed", "err", err)
}

// admit makes a newcomer the session if there is none. Otherwise it has until
// the returned timer fires to send its first frame.
func (s *server) admit(c *Conn) *time.Timer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped: // and its connection closed, as it will notice
	case s.session.Load() == nil:
		s.activate(c)
	default:
		s.waiting = append(s.waiting, c)
	}
	return time.AfterFunc(proofTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.Contains(s.waiting, c) {
			c.Close(errUnproven)
		}
	})
}

// takeOver makes c, which has sent a valid frame, the session, if it is not
// already. The error says why c was closed before.
func (s *server) takeOver(c *Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	old := s.session.Load()
	if old == c {
		return nil
	}
	s.activate(c)
	if old != nil {
		old.Close(errReplaced)
	}
	return nil
}

// activate makes c the session. The caller holds the lock.
func (s *server) activate(c *Conn) {
	s.forget(c)
	s.session.Store(c)
	s.cfg.Status.connected()
	s.cfg.Logger.Info("Session established", "remote", c.RemoteAddr())
}

// leave takes note that c is over, and reports whether it was the session.
// Then the newest that waits becomes the session.
func (s *server) leave(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
	if !s.session.CompareAndSwap(c, nil) {
		return false
	}
	if n := len(s.waiting); n > 0 && !s.stopped {
		s.activate(s.waiting[n-1])
	}
	return true
}

func (s *server) forget(c *Conn) {
	s.waiting = slices.DeleteFunc(s.waiting, func(w *Conn) bool { return w == c })
}
