package session

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultTimeout is how long a dead path goes unnoticed unless the
	// configuration says otherwise. It outlasts a short outage of a mobile
	// link. (The C program waits 60 s, and for ever if it has nothing to send.)
	DefaultTimeout = 20 * time.Second

	// longestHeartbeat is the most that a session may go without a heartbeat,
	// whatever its time-out: short enough to stay in the tables of any NAT on
	// the way, and known to the peer, which counts on it.
	longestHeartbeat = 10 * time.Second

	// outBufferSize bounds what one write hands to TCP. It holds a maximal
	// frame, and the packets of a batch of bulk data.
	outBufferSize = 256 << 10

	// retryInterval is how often a peer is tried that takes nothing, and
	// probeTimeout how long a try may take that comes with fresh packets:
	// meanwhile those behind them wait.
	retryInterval = 50 * time.Millisecond
	probeTimeout  = 5 * time.Millisecond
)

// timing is what follows from the time-out of a session.
type timing struct {
	timeout time.Duration // a dead path is noticed within it

	// heartbeat is how often a session sends a frame without a packet. What is
	// left of the time-out is for TCP to miss the acknowledgement. They go on
	// under load, where they cost nothing, so that the peer knows how often to
	// expect them.
	heartbeat   time.Duration
	userTimeout time.Duration

	// late is how long a batch waits for a peer that takes nothing. What
	// comes then is dropped: it would be of no use to anybody later.
	late time.Duration
}

func timingOf(timeout time.Duration) timing {
	beat := min(longestHeartbeat, timeout/2)
	return timing{timeout: timeout, heartbeat: beat, userTimeout: timeout - beat, late: timeout / 4}
}

// Conn is a session: two streams of frames over one TCP connection to a peer
// that has proved its key. One goroutine may receive while others send.
type Conn struct {
	conn  net.Conn
	mtu   int // of the device, in bytes
	times timing
	stats counters

	out       outbox
	heartbeat *time.Timer
	asleep    func() time.Duration // how long the system has been suspended since it started
	slept     time.Duration        // its value at the start

	in      inbox
	relaxed atomic.Bool // see relax

	established bool // has been the session of a server, which guards it

	// For [Status], which must not wait for a lock: times by clock, 0 for none.
	start      time.Time
	heard      atomic.Int64 // the last frame came
	sending    atomic.Int64 // the write to the peer that is going on began, or went on
	lateSince  atomic.Int64 // the peer last took something; 0 unless the session is late
	delivering atomic.Int64 // the same to the device

	closing sync.Once
	cause   atomic.Pointer[error] // why it was closed
}

// newConn makes a session of a connection whose handshake is done. The
// configuration is complete.
func newConn(conn net.Conn, cfg *Config, s sealer, o opener) *Conn {
	c := &Conn{conn: conn, mtu: cfg.MTU, times: timingOf(cfg.Timeout), asleep: cfg.asleep, slept: cfg.asleep()}
	c.start = time.Now()
	c.out = newOutbox(s, c.start)
	c.in = newInbox(o)
	// Started only when c has it, since beat uses it.
	c.heartbeat = time.AfterFunc(math.MaxInt64, c.beat)
	c.heartbeat.Reset(c.times.heartbeat)
	return c
}

// RemoteAddr is the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// LocalAddr is our address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// beat sends a heartbeat when it is time, or tries again to send what the peer
// has not taken yet; and sees to the next time.
func (c *Conn) beat() {
	if err := c.Slept(); err != nil {
		c.Close(err)
		return
	}
	next, err := retryInterval, error(nil) // another goroutine sends
	if c.out.TryLock() {
		next, err = c.sendDue()
		c.out.Unlock()
	}
	if err != nil {
		c.Close(err)
	}
	if c.cause.Load() == nil {
		c.heartbeat.Reset(next)
	}
}

// announce sends a heartbeat soon, so that the peer knows that there will be
// more of them.
func (c *Conn) announce() {
	c.out.Lock()
	defer c.out.Unlock()
	c.out.lastBeat = time.Time{}
	c.heartbeat.Reset(0)
}

// sendDue is what beat does while nobody else sends. It returns when to do so
// again.
func (c *Conn) sendDue() (next time.Duration, err error) {
	switch now := time.Now(); {
	case c.out.late:
		err = c.send(nil)
	case now.Sub(c.out.lastBeat) >= c.times.heartbeat:
		c.out.lastBeat = now
		err = c.send(empty)
	}
	if c.out.late {
		return retryInterval, err
	}
	return c.times.heartbeat - time.Since(c.out.lastBeat), err
}

// empty is the batch that makes a heartbeat.
var empty = [][]byte{nil}

// Slept returns an error if the system was suspended for so long that the
// peer will have given the session up.
func (c *Conn) Slept() error {
	if slept := c.asleep() - c.slept; slept > c.times.timeout {
		return fmt.Errorf("%w for %v", errSuspended, slept.Round(time.Second))
	}
	return nil
}

// Close ends the session, unblocks everything that waits on it and wipes its
// keys. The first cause stays; see [Conn.Err].
func (c *Conn) Close(cause error) {
	c.closing.Do(func() {
		c.cause.Store(&cause)
		c.heartbeat.Stop()
		c.conn.Close()
		c.wipe()
	})
}

// wipe forgets the keys of a connection that is closed, so that nobody holds a
// lock for long any more.
func (c *Conn) wipe() {
	c.out.Lock()
	defer c.out.Unlock()
	c.out.sealer.wipe()
	c.out.sealer = nil
	c.in.keys.Lock()
	defer c.in.keys.Unlock()
	c.in.opener.wipe()
	c.in.opener = nil
}

// Err is the cause that the session was closed for, or nil while it is open.
func (c *Conn) Err() error {
	if cause := c.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Stats counts what went through a session.
type Stats struct {
	SentPackets, SentBytes         uint64
	ReceivedPackets, ReceivedBytes uint64 // that went to the device
	Heartbeats                     uint64 // frames without a packet, from the peer

	// Frames that the peer made well, and that the device must not get.
	Unknown   uint64 // neither IPv4 nor IPv6
	Malformed uint64 // shorter than an IP header
	Oversized uint64 // longer than the MTU; also packets of ours too long for a frame

	Late uint64 // packets of ours that were dropped since the peer took nothing for a while
}

// LogValue is the part that tells an operator how it went.
func (s Stats) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("sent_packets", s.SentPackets), slog.Uint64("sent_bytes", s.SentBytes),
		slog.Uint64("received_packets", s.ReceivedPackets), slog.Uint64("received_bytes", s.ReceivedBytes),
		slog.Uint64("dropped", s.Unknown+s.Malformed+s.Oversized+s.Late))
}

// counters is Stats in the making.
type counters struct {
	sentPackets, sentBytes         atomic.Uint64
	receivedPackets, receivedBytes atomic.Uint64
	heartbeats                     atomic.Uint64
	unknown, malformed, oversized  atomic.Uint64
	late                           atomic.Uint64
}

// Stats returns the counts so far.
func (c *Conn) Stats() Stats {
	return Stats{
		SentPackets: c.stats.sentPackets.Load(), SentBytes: c.stats.sentBytes.Load(),
		ReceivedPackets: c.stats.receivedPackets.Load(), ReceivedBytes: c.stats.receivedBytes.Load(),
		Heartbeats: c.stats.heartbeats.Load(),
		Unknown:    c.stats.unknown.Load(), Malformed: c.stats.malformed.Load(), Oversized: c.stats.oversized.Load(),
		Late: c.stats.late.Load(),
	}
}
