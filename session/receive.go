package session

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	// inBufferSize bounds what one read takes from TCP. It holds four maximal
	// frames.
	inBufferSize = 256 << 10

	// maxReceive bounds the packets that one call of Receive returns.
	maxReceive = 256
)

// inbox is the receiving half of a session: a buffer of bytes from the peer,
// of which buf[start:end] is yet to be looked at.
type inbox struct {
	keys       sync.Mutex // held while frames are opened
	opener                // nil when the session is over
	buf        []byte
	start, end int
	packets    [][]byte
	guarded    bool  // a read deadline is set
	err        error // ends the session once all before it is delivered

	// What is known of the peer's heartbeats: how many there were, when the
	// last one came, and how long that and the one before it took. What the
	// first took is not known: the longest.
	known    int
	lastBeat time.Time
	beats    [2]time.Duration
}

func newInbox(o opener) inbox {
	return inbox{opener: o, buf: make([]byte, inBufferSize), packets: make([][]byte, 0, maxReceive)}
}

// Receive waits until at least one frame is there, and returns the packets of
// all that are, which may be none: a frame need not carry a packet that the
// device may have. The packets stay valid until the next call. Packets in
// front of an error are returned first, the error by the next call.
//
// A peer that sends heartbeats must be heard within the time-out, and a frame
// that has begun must go on. The silence of other peers has no limit: they may
// have nothing to say.
func (c *Conn) Receive() (packets [][]byte, err error) {
	in := &c.in
	in.packets = in.packets[:0]
	for {
		switch frames := c.openFrames(); {
		case frames > 0:
			return in.packets, nil
		case in.err != nil:
			return nil, in.err
		}
		in.err = c.fill()
	}
}

// openFrames decrypts the whole frames that are there, appends their packets
// and returns the number of frames. It stops at an error, which it leaves in
// the inbox.
func (c *Conn) openFrames() (frames int) {
	in := &c.in
	in.keys.Lock()
	defer in.keys.Unlock()
	if in.opener == nil {
		in.err = cmp.Or(in.err, net.ErrClosed)
		return 0
	}
	var bytes int
	for len(in.packets) < cap(in.packets) {
		size := in.frameSize(in.buf[in.start:in.end])
		if size == 0 || size > in.end-in.start {
			break
		}
		packet, err := in.open(in.buf[in.start : in.start+size])
		if err != nil {
			in.err, in.end = err, in.start // nothing behind it can be read
			break
		}
		in.start += size
		frames++
		if c.wanted(packet) {
			in.packets = append(in.packets, packet)
			bytes += len(packet)
		}
	}
	if frames > 0 {
		c.heard.Store(c.clock())
	}
	c.stats.receivedPackets.Add(uint64(len(in.packets)))
	c.stats.receivedBytes.Add(uint64(bytes))
	return frames
}

// wanted reports whether the device may have a packet, and counts it if not.
// Frames of other IP versions are how later versions of the protocol talk
// past this one.
func (c *Conn) wanted(packet []byte) bool {
	const shortest4, shortest6 = 20, 40 // the fixed headers of IPv4 and IPv6
	if len(packet) == 0 {
		c.stats.heartbeats.Add(1)
		c.in.heartbeat(time.Now())
		c.relax()
		return false
	}
	version := packet[0] >> 4
	switch {
	case version != 4 && version != 6:
		c.stats.unknown.Add(1)
	case len(packet) < shortest4, version == 6 && len(packet) < shortest6:
		c.stats.malformed.Add(1)
	case len(packet) > c.mtu:
		c.stats.oversized.Add(1)
	default:
		return true
	}
	return false
}

// heartbeat takes note of a heartbeat.
func (in *inbox) heartbeat(now time.Time) {
	took := min(now.Sub(in.lastBeat), longestHeartbeat) // also the first time
	in.lastBeat = now
	if in.known++; in.known <= 2 {
		in.beats[1] = took
	}
	in.beats[0], in.beats[1] = in.beats[1], took
}

// beat is how often the peer sends heartbeats, as far as that is known. One
// that is late makes the next seem early, so the longer of two times counts.
func (in *inbox) beat() time.Duration { return max(in.beats[0], in.beats[1]) }

// relax leaves it to the peer's heartbeats to tell of a dead path, once they
// come often enough. TCP would give up a slow one, too: where a relay between
// us takes much at a time, and then nothing for long.
func (c *Conn) relax() {
	if c.in.known > 1 && c.in.beat() <= c.times.timeout*3/4 && !c.relaxed.Swap(true) {
		setUserTimeout(c.conn, 0)
	}
}

// patience is how long the peer may stay silent; 0 is for ever. Its next
// heartbeat may be late by as much as the time between two. The path may be
// given up earlier, after the first time, if it takes nothing from us either.
func (c *Conn) patience(partial bool) (first, all time.Duration) {
	switch {
	case c.in.known > 0:
		all = max(c.times.timeout, 2*c.in.beat())
		return all * 3 / 4, all
	case partial:
		return c.times.timeout, c.times.timeout
	}
	return 0, 0
}

// fill reads from the peer. Afterwards there is more than before, or an
// error.
func (c *Conn) fill() error {
	in := &c.in
	in.makeRoom()
	partial := in.start < in.end
	first, all := c.patience(partial)
	if all > 0 || in.guarded {
		if err := c.readWithin(first); err != nil {
			return err
		}
		in.guarded = all > 0
	}

	n, err := c.conn.Read(in.buf[in.end:])
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && first < all {
		if waiting, _ := unacked(c.conn); waiting > 0 {
			return fmt.Errorf("%w for %v, and took nothing", errPeerSilent, first)
		}
		if err := c.readWithin(all - first); err != nil {
			return err
		}
		n, err = c.conn.Read(in.buf[in.end:])
	}
	in.end += n
	switch {
	case n > 0:
		return nil // an error comes again
	case err == io.EOF && partial:
		return fmt.Errorf("%w within a frame", errPeerClosed)
	case err == io.EOF:
		return errPeerClosed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w for %v", errPeerSilent, all)
	}
	return err
}

// readWithin limits the next read in time; 0 is no limit.
func (c *Conn) readWithin(limit time.Duration) error {
	var deadline time.Time
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	return c.conn.SetReadDeadline(deadline)
}

// makeRoom moves what is left of the buffer to its start when a maximal frame
// might not fit behind it.
func (in *inbox) makeRoom() {
	if in.start == in.end {
		in.start, in.end = 0, 0
	} else if in.start+maxFrame > len(in.buf) {
		in.end = copy(in.buf, in.buf[in.start:in.end])
		in.start = 0
	}
}
