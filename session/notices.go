package session

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	// noticeInterval and maxNotices bound the log under attack: so many lines
	// an interval about connections that came to nothing.
	noticeInterval = time.Minute
	maxNotices     = 10
)

// notices writes log lines of which strangers can make as many as they like:
// a few of them, and then how many more there were.
type notices struct {
	mu      sync.Mutex
	begin   time.Time // of the present interval
	written int
	held    int // back, in this interval
}

// log writes a line, unless there were many.
func (n *notices) log(log *slog.Logger, level slog.Level, message string, args ...any) {
	if !log.Enabled(context.Background(), level) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.begin) >= noticeInterval {
		n.summarise(log)
		n.begin, n.written = now, 0
	}
	if n.written++; n.written <= maxNotices {
		log.Log(context.Background(), level, message, args...)
		return
	}
	if n.held++; n.held == 1 {
		log.Info("many connections come to nothing: the rest of this minute's are only counted")
	}
}

// summarise says what was not said.
func (n *notices) summarise(log *slog.Logger) {
	if n.held > 0 {
		log.Info("connections that came to nothing", "count", n.held)
		n.held = 0
	}
}

const (
	// A client that roams, however badly, takes the session over from itself
	// now and then. So many times within so long are two clients.
	rivalTakeOvers = 4
	rivalInterval  = time.Minute

	// rivalPause is how long nothing more is said about it.
	rivalPause = 10 * time.Minute
)

// rivalry notices clients that share the key and take the session from each
// other, again and again.
type rivalry struct {
	times [rivalTakeOvers]time.Time // of the last take-overs, in a ring
	next  int
	said  time.Time
}

// tookOver takes note that a session has replaced another that was still up.
func (r *rivalry) tookOver(log *slog.Logger, newer, older net.Addr) {
	now := time.Now()
	first := r.times[r.next]
	r.times[r.next] = now
	r.next = (r.next + 1) % rivalTakeOvers
	if first.IsZero() || now.Sub(first) > rivalInterval || !r.said.IsZero() && now.Sub(r.said) < rivalPause {
		return
	}
	r.said = now
	log.Warn("two clients with this key take the session from each other, and neither has it for long: "+
		"stop one, or give it a server and a key of its own", "one", older, "other", newer)
}
