package session

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// heartbeatInterval is how long a session may send nothing before it
	// sends a frame without a packet. It is half of what TCP waits for an
	// acknowledgement, so that a dead path is noticed within 30 s; and short
	// enough to stay in the tables of any NAT on the way.
	heartbeatInterval = 10 * time.Second

	// stallTimeout is how long the peer may take nothing from us, or leave a
	// frame half sent, before the connection counts as dead. A peer that
	// takes a little at a time is slow, not dead.
	stallTimeout = 20 * time.Second

	// outBufferSize bounds what one write hands to TCP. It holds a maximal
	// frame, and the packets of a batch of bulk data.
	outBufferSize = 256 << 10
)

// Conn is a session: two streams of frames over one TCP connection to a peer
// that has proved its key. One goroutine may receive while others send.
type Conn struct {
	conn  net.Conn
	mtu   int // of the device, in bytes
	stats counters

	out struct {
		sync.Mutex        // held for a whole batch
		sealer            // nil when the session is over
		buf        []byte // frames that wait for their write
		last       time.Time
	}
	heartbeat *time.Timer

	in inbox

	// For [Status], which must not wait for a lock: times by clock, 0 for none.
	start      time.Time
	heard      atomic.Int64 // the last frame came
	sending    atomic.Int64 // the write to the peer that is going on began, or went on
	delivering atomic.Int64 // the same to the device

	closing sync.Once
	cause   atomic.Pointer[error] // why it was closed
}

func newConn(conn net.Conn, mtu int, s sealer, o opener) *Conn {
	c := &Conn{conn: conn, mtu: mtu, in: newInbox(o)}
	c.out.sealer = s
	c.out.buf = make([]byte, 0, outBufferSize)
	c.start = time.Now()
	c.out.last = c.start
	// Started only when c has it, since beat uses it.
	c.heartbeat = time.AfterFunc(math.MaxInt64, c.beat)
	c.heartbeat.Reset(heartbeatInterval)
	return c
}

// RemoteAddr is the address of the peer.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// LocalAddr is our address of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// Send sends one frame for each packet, all of them with one write, or with a
// few if they are more than the output buffer holds. What cannot be a frame,
// as it is longer than 65535 bytes, is dropped, and an empty packet is a
// heartbeat. After an error the connection is of no more use.
func (c *Conn) Send(packets [][]byte) error {
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.sealer == nil {
		return net.ErrClosed
	}
	for _, packet := range packets {
		switch {
		case len(packet) > maxPacket:
			c.stats.oversized.Add(1)
			continue
		case len(packet) > 0:
			c.stats.sentPackets.Add(1)
			c.stats.sentBytes.Add(uint64(len(packet)))
		}
		size := c.out.sealedSize(len(packet))
		if len(c.out.buf)+size > cap(c.out.buf) {
			if err := c.flush(); err != nil {
				return err
			}
		}
		n := len(c.out.buf)
		c.out.buf = c.out.buf[:n+size]
		c.out.seal(c.out.buf[n:], packet)
	}
	return c.flush()
}

// flush writes the output buffer. It gives the peer stallTimeout again
// whenever it has taken something.
func (c *Conn) flush() error {
	defer c.sending.Store(0)
	for b := c.out.buf; len(b) > 0; {
		c.out.last = time.Now()
		c.sending.Store(c.clock())
		if err := c.conn.SetWriteDeadline(c.out.last.Add(stallTimeout)); err != nil {
			return err
		}
		n, err := c.conn.Write(b)
		timeout := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case timeout && n == 0:
			return fmt.Errorf("peer takes nothing for %v: %w", stallTimeout, err)
		case err != nil && !timeout:
			return err
		}
		b = b[n:]
	}
	c.out.buf = c.out.buf[:0]
	return nil
}

// empty is the batch that makes a heartbeat.
var empty = [][]byte{nil}

// beat sends a heartbeat if nothing was sent for a while, and sees to the
// next one.
func (c *Conn) beat() {
	// While another goroutine sends, there is no need for a heartbeat.
	next := heartbeatInterval
	if c.out.TryLock() {
		idle := time.Since(c.out.last)
		c.out.Unlock()
		if idle < heartbeatInterval {
			next -= idle
		} else if err := c.Send(empty); err != nil {
			c.Close(err)
		}
	}
	if c.cause.Load() == nil {
		c.heartbeat.Reset(next)
	}
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
}

// LogValue is the part that tells an operator how it went.
func (s Stats) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("sent_packets", s.SentPackets), slog.Uint64("sent_bytes", s.SentBytes),
		slog.Uint64("received_packets", s.ReceivedPackets), slog.Uint64("received_bytes", s.ReceivedBytes),
		slog.Uint64("dropped", s.Unknown+s.Malformed+s.Oversized))
}

// counters is Stats in the making.
type counters struct {
	sentPackets, sentBytes         atomic.Uint64
	receivedPackets, receivedBytes atomic.Uint64
	heartbeats                     atomic.Uint64
	unknown, malformed, oversized  atomic.Uint64
}

// Stats returns the counts so far.
func (c *Conn) Stats() Stats {
	return Stats{
		SentPackets: c.stats.sentPackets.Load(), SentBytes: c.stats.sentBytes.Load(),
		ReceivedPackets: c.stats.receivedPackets.Load(), ReceivedBytes: c.stats.receivedBytes.Load(),
		Heartbeats: c.stats.heartbeats.Load(),
		Unknown:    c.stats.unknown.Load(), Malformed: c.stats.malformed.Load(), Oversized: c.stats.oversized.Load(),
	}
}
