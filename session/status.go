package session

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// silence is how long a peer that sends heartbeats may send nothing: it
	// may be late with one, not with three.
	silence = 3 * longestHeartbeat

	// stuckAfter is how long one write may take, to the device or to the
	// peer. The latter is bounded by a part of the time-out; what takes much
	// longer is a mistake of ours.
	stuckAfter = time.Minute
)

// Status says how the session of the moment is doing. It is made by
// [NewStatus], given to [Serve] or a [Client] with the configuration, and may
// be asked from any goroutine, which never waits for a session.
type Status struct {
	session atomic.Pointer[Conn]
	first   sync.Once
	up      chan struct{}
}

// NewStatus makes the status of a tunnel that has no session yet.
func NewStatus() *Status { return &Status{up: make(chan struct{})} }

// Up is closed when the first session is there.
func (s *Status) Up() <-chan struct{} { return s.up }

// connected takes note of a session.
func (s *Status) connected() { s.first.Do(func() { close(s.up) }) }

// Report returns what there is to say at this moment.
func (s *Status) Report() Report {
	c := s.session.Load()
	if c == nil {
		return Report{}
	}
	// The clock is read last, so that nothing is later than now.
	heard, sending, delivering, late := c.heard.Load(), c.sending.Load(), c.delivering.Load(), c.lateSince.Load()
	now := c.clock()
	r := Report{
		Remote: c.RemoteAddr(),
		Age:    time.Duration(now),
		Silent: time.Duration(now - heard),
		Beats:  c.stats.heartbeats.Load() > 0,
	}
	if late != 0 {
		r.Late = time.Duration(now - late)
	}
	for _, began := range []int64{sending, delivering} {
		if began != 0 {
			r.Stuck = max(r.Stuck, time.Duration(now-began))
		}
	}
	return r
}

// Report is a [Status] at one moment.
type Report struct {
	Remote net.Addr      // the peer, which has proved the key; nil without a session
	Age    time.Duration // of the session
	Silent time.Duration // since the peer's last valid frame, or since the start
	Beats  bool          // the peer is known to send heartbeats while it is idle
	Late   time.Duration // how long the peer has taken nothing that waits for it; 0 if nothing does
	Stuck  time.Duration // how long the write that is going on has taken; 0 if there is none
}

// Alive returns an error if the program has stopped doing its work, whatever
// the network and the peer do. A restart mends that.
func (r Report) Alive() error {
	if r.Stuck > stuckAfter {
		return fmt.Errorf("stuck in a write for %v", r.Stuck.Round(time.Second))
	}
	return nil
}

// Ready returns nil if a session is up and packets come through, else why
// not.
//
// Our own peers are never silent, so frames that stay out mean that the peer
// hangs. Other peers, such as the C program, are silent when they have
// nothing to say. What we send them, heartbeats at least, has to be
// acknowledged by their TCP though, or the session ends after half a minute:
// for them, that there is a session says enough.
func (r Report) Ready() error {
	switch {
	case r.Remote == nil:
		return errNoSession
	case r.Beats && r.Silent > silence:
		return fmt.Errorf("nothing has come from %v for %v", r.Remote, r.Silent.Round(time.Second))
	case r.Late > 0:
		return fmt.Errorf("%v has taken nothing for %v", r.Remote, r.Late.Round(time.Second))
	}
	return r.Alive()
}

var errNoSession = errors.New("no session")

// String is one line for people.
func (r Report) String() string {
	if err := r.Ready(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("session with %v for %v, last heard of %v ago",
		r.Remote, r.Age.Round(time.Second), r.Silent.Round(time.Second))
}

// clock is the age of the session in nanoseconds, and never 0. Nobody can set
// it, unlike the clock on the wall.
func (c *Conn) clock() int64 { return c.clockAt(time.Now()) }

func (c *Conn) clockAt(t time.Time) int64 { return int64(max(t.Sub(c.start), 1)) }
