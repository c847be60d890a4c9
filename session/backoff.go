package session

import (
	"context"
	"math/rand/v2"
	"time"
)

// The pause between two attempts to connect starts short, for a server that
// restarts or a path that flaps, and doubles up to a length that neither
// keeps a user waiting nor bothers a server.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 10 * time.Second

	// authPause is the least pause after a server has refused us: no second
	// attempt mends that.
	authPause = time.Second
)

// backoff makes the pauses of one client. The zero value is ready.
type backoff struct {
	last time.Duration
}

// next is the pause to make now. A random part, up to a third, keeps the
// clients of a server that restarts from coming back as one.
func (b *backoff) next(refused bool) time.Duration {
	b.last = min(max(2*b.last, firstPause), longestPause)
	if refused {
		b.last = max(b.last, authPause)
	}
	return b.last - rand.N(b.last/3)
}

func (b *backoff) reset() { b.last = 0 }

// sleep waits for d, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
