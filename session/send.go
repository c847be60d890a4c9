package session

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// patienceFactor is how many times the time-out a peer may take nothing while
// its heartbeats come.
const patienceFactor = 6

// outbox is the sending half of a session.
type outbox struct {
	mutex              // held for a whole batch
	sealer             // nil when the session is over
	buf      []byte    // frames that wait for their write
	rest     []byte    // the end of buf that the peer has not taken
	lastBeat time.Time // when the last heartbeat was sent

	// A peer that takes nothing for a while makes the session late: what it
	// has not taken of buf stays for it, and what comes is dropped.
	late     bool
	progress time.Time // when the peer, or its TCP, last took something
	unacked  int       // what TCP held then, in bytes
}

func newOutbox(s sealer, now time.Time) outbox {
	return outbox{mutex: make(mutex, 1), sealer: s, buf: make([]byte, 0, outBufferSize), lastBeat: now, progress: now}
}

// mutex is a lock that may be held for seconds, while a peer takes nothing. It
// is a channel since the virtual time of tests stands still for a [sync.Mutex].
type mutex chan struct{}

func (m mutex) Lock()   { m <- struct{}{} }
func (m mutex) Unlock() { <-m }

func (m mutex) TryLock() bool {
	select {
	case m <- struct{}{}:
		return true
	default:
		return false
	}
}

// Send sends one frame for each packet, all of them with one write, or with a
// few if they are more than the output buffer holds. What cannot be a frame,
// as it is longer than 65535 bytes, is dropped, and an empty packet is a
// heartbeat.
//
// A peer that takes nothing makes Send wait for a quarter of the time-out, no
// more: after that, packets are dropped until it takes something again. So
// what waits is bounded in time, and by the buffers here and in TCP in bytes.
// After an error, such as that of a peer that takes nothing for the whole
// time-out, the connection is of no more use.
func (c *Conn) Send(packets [][]byte) error {
	c.out.Lock()
	defer c.out.Unlock()
	return c.send(packets)
}

// send is Send for those who have the lock.
func (c *Conn) send(packets [][]byte) error {
	if c.out.sealer == nil {
		return net.ErrClosed
	}
	if c.out.late {
		if err := c.flush(probeTimeout); err != nil {
			return err
		}
	}
	for i, packet := range packets {
		if len(packet) > maxPacket {
			c.stats.oversized.Add(1)
			continue
		}
		size := c.out.sealedSize(len(packet))
		if !c.out.late && len(c.out.buf)+size > cap(c.out.buf) {
			if err := c.flush(c.times.late); err != nil {
				return err
			}
		}
		if c.out.late {
			c.stats.late.Add(uint64(len(packets) - i))
			return nil
		}
		n := len(c.out.buf)
		c.out.buf = c.out.buf[:n+size]
		c.out.seal(c.out.buf[n:], packet)
		if len(packet) > 0 {
			c.stats.sentPackets.Add(1)
			c.stats.sentBytes.Add(uint64(len(packet)))
		}
	}
	if c.out.late {
		return nil
	}
	return c.flush(c.times.late)
}

// flush writes what is in the output buffer, or what is left of it, within a
// time, and makes the session late if the peer does not take all of it.
func (c *Conn) flush(within time.Duration) error {
	defer c.sending.Store(0)
	out := &c.out
	if !out.late {
		out.rest, out.progress = out.buf, time.Now()
	}
	for len(out.rest) > 0 {
		now := time.Now()
		c.sending.Store(c.clock())
		if err := c.conn.SetWriteDeadline(now.Add(within)); err != nil {
			return err
		}
		n, err := c.conn.Write(out.rest)
		out.rest = out.rest[n:]
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return c.fellLate(n > 0)
		case err != nil:
			return err
		}
		out.progress = now
	}
	out.late = false
	c.lateSince.Store(0)
	out.buf = out.buf[:0]
	return nil
}

// fellLate takes note of a peer that has not taken everything in time. It is
// an error if it has taken nothing for the whole time-out.
//
// A slow path may well take no byte from us for that long while TCP still
// sends what it has: so what counts is whether the peer acknowledges. Where a
// relay between us takes much at a time, even that may not happen for long: a
// peer whose heartbeats come has patienceFactor times the time-out.
func (c *Conn) fellLate(taken bool) error {
	out, now := &c.out, time.Now()
	unacked, known := unacked(c.conn)
	if taken || out.late && known && unacked < out.unacked {
		out.progress = now
	}
	out.unacked = unacked
	if !out.late {
		out.late = true
		c.heartbeat.Reset(retryInterval)
	}
	c.lateSince.Store(c.clockAt(out.progress))
	limit := c.times.timeout
	if c.relaxed.Load() {
		limit *= patienceFactor
	}
	if now.Sub(out.progress) >= limit {
		return fmt.Errorf("%w for %v", errPeerStuck, limit)
	}
	return nil
}
