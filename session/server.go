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
	// proofTimeout is how long a newcomer may take for its first frame while
	// another session is active. Our client sends it at once, the C client
	// with its first packet.
	proofTimeout = 10 * time.Second

	// maxUnproven is how many newcomers may be about to send their first
	// frame. Each has the key, or replays somebody who has, and takes half a
	// megabyte.
	maxUnproven = 8

	// acceptPause is waited after accept fails, as it does while descriptors
	// are short.
	acceptPause = 50 * time.Millisecond
)

// Serve serves the clients that come to l, one at a time, until ctx is done
// and it returns nil, or until the device or the listener fails. It closes l
// and all connections before it returns; the device stays open.
//
// The latest client that has proved itself has the session. Without a session
// the handshake is proof enough. With one, since a handshake may be a replay
// of a recorded one, the newcomer must also send a frame, and the old session
// goes on until then. So does a hello that is older than this server, if it
// does not know what its predecessor has accepted.
//
// Who does not prove the key gets no byte, and is closed helloTimeout after the
// connection was accepted, whatever was wrong.
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
	s := &server{tunnel: t, pending: newPending(), seen: openReplays(maxReplays, cfg.Replays, cfg.Now(), cfg.Logger)}
	defer s.seen.close()
	defer context.AfterFunc(ctx, func() { l.Close(); s.closeAll() })()

	if err := s.accept(ctx, l); err != nil {
		t.fail(err)
	}
	s.handlers.Wait()
	s.notices.summarise(cfg.Logger)
	return t.close(ctx)
}

// server is a running Serve.
type server struct {
	*tunnel
	pending  *pending
	seen     *replays
	notices  notices
	handlers sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	waiting []newcomer // oldest first
	rivals  rivalry
}

// A newcomer has done its handshake, and not sent a frame yet.
type newcomer struct {
	*Conn
	proven bool // the handshake was no replay
}

// accept starts a handler for each connection. It returns nil when ctx is
// done.
func (s *server) accept(ctx context.Context, l net.Listener) error {
	for said := (time.Time{}); ; {
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
			// Most likely descriptors are short: those who have proved
			// nothing have to do without. An operator can mend that, so what
			// strangers fill the log with must not hide it.
			if time.Since(said) >= noticeInterval {
				s.cfg.Logger.Warn("accept failed, trying again", "err", err)
				said = time.Now()
			}
			s.evicted(s.pending.shed())
			sleep(ctx, acceptPause)
		default:
			s.evicted(s.pending.enter(conn))
			s.handlers.Go(func() { s.handle(conn) })
		}
	}
}

// evicted tells of a connection that had to go.
func (s *server) evicted(conn net.Conn) {
	if conn != nil {
		s.logRefusal(conn, errCrowded)
	}
}

// closeAll ends every connection, and lets no more in.
func (s *server) closeAll() {
	s.pending.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if c := s.session.Load(); c != nil {
		c.Close(errStopped)
	}
	for _, c := range s.waiting {
		c.Close(errStopped)
	}
}

// handle takes one connection from its first byte to its last.
func (s *server) handle(conn net.Conn) {
	c, proven := s.greet(conn)
	if c == nil {
		return
	}
	defer c.Close(errStopped)
	proof := s.admit(c, proven)
	defer proof.Stop()

	c.announce()
	packets, err := c.Receive()
	if err == nil {
		err = s.takeOver(c)
	}
	if err == nil {
		err = s.receive(c, packets)
	}
	c.Close(err)
	if s.leave(c) {
		s.log(c).Info("Client disconnected", "reason", c.Err(), "stats", c.Stats())
	} else {
		s.notices.log(s.log(c), slog.LevelInfo, "newcomer dropped", "reason", c.Err())
	}
}

func (s *server) log(c *Conn) *slog.Logger { return s.cfg.Logger.With("remote", c.RemoteAddr()) }

// greet does the handshake with a connection that nobody knows yet. It reports
// whether that was proof enough that the peer has the key. Of a peer that was
// refused nothing is left when it returns.
func (s *server) greet(conn net.Conn) (c *Conn, proven bool) {
	defer s.pending.leave(conn)
	up, down, proven, err := serverHandshake(conn, &s.cfg, s.seen)
	if err != nil {
		s.logRefusal(conn, err)
		sink(conn)
		conn.Close()
		return nil, false
	}
	// Not before: a stranger may have been pushed out, and a closed connection
	// takes no options.
	s.tune(conn)
	defer up.Wipe()
	defer down.Wipe()
	return newConn(conn, &s.cfg, &charmCodec{down}, &charmCodec{up}), proven
}

// logRefusal logs a connection that came to nothing. The internet knocks on
// every door, so none of this is a warning, and who says nothing is not news at
// all.
func (s *server) logRefusal(conn net.Conn, err error) {
	level := slog.LevelInfo
	truncated := (*TruncatedError)(nil)
	if errors.As(err, &truncated) && truncated.Got == 0 || errors.Is(err, net.ErrClosed) {
		level = slog.LevelDebug
	}
	s.notices.log(s.cfg.Logger, level, "handshake failed", "remote", conn.RemoteAddr(), "err", err)
}

// admit makes a newcomer the session, if its handshake was proof enough and
// there is none. Otherwise it has until the returned timer fires to send its
// first frame.
func (s *server) admit(c *Conn, proven bool) *time.Timer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		c.Close(errStopped)
	case proven && s.session.Load() == nil:
		s.activate(c)
	default:
		if len(s.waiting) == maxUnproven {
			s.waiting[0].Close(errCrowded)
			s.forget(s.waiting[0].Conn)
		}
		s.waiting = append(s.waiting, newcomer{c, proven})
	}
	return time.AfterFunc(proofTimeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if slices.ContainsFunc(s.waiting, is(c)) {
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
		s.rivals.tookOver(s.cfg.Logger, c.RemoteAddr(), old.RemoteAddr())
	}
	return nil
}

// activate makes c the session. The caller holds the lock.
func (s *server) activate(c *Conn) {
	s.forget(c)
	c.established = true
	s.session.Store(c)
	s.cfg.Status.connected()
	s.cfg.Logger.Info("Session established", "remote", c.RemoteAddr())
}

// leave takes note that c is over, and reports whether it has been the session.
// If it still was, the newest that waits becomes the session, if it has proved
// itself.
func (s *server) leave(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
	if !s.session.CompareAndSwap(c, nil) {
		return c.established
	}
	for _, n := range slices.Backward(s.waiting) {
		if n.proven && !s.stopped {
			s.activate(n.Conn)
			break
		}
	}
	return true
}

func (s *server) forget(c *Conn) { s.waiting = slices.DeleteFunc(s.waiting, is(c)) }

func is(c *Conn) func(newcomer) bool { return func(n newcomer) bool { return n.Conn == c } }
