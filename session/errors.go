package session

import (
	"errors"
	"fmt"
	"io"
	"math"
	"syscall"
	"time"
)

// What may be wrong with a peer.
var (
	// ErrWrongKey is a hello, or the answer to one, that was not made with
	// our key.
	ErrWrongKey = errors.New("the key differs, or this is no dsvpn peer")

	// ErrReplayed is a hello that the server has accepted before: somebody
	// has recorded it and sends it again.
	ErrReplayed = errors.New("replayed hello")

	// ErrNoAnswer is a server that closes the connection on our hello. That
	// is all it tells a client that it does not trust.
	ErrNoAnswer = errors.New("the server closed the connection without an answer: the key differs, " +
		"the clocks are more than 2 h apart, or it is no dsvpn server")

	// ErrCorrupted is a frame whose tag is wrong. The cipher has lost its
	// place by then, so the connection ends.
	ErrCorrupted = errors.New("corrupted stream")
)

// Why a session that works ends, or a connection before it is one.
var (
	errPeerClosed     = errors.New("closed by the peer")
	errReplaced       = errors.New("replaced by a newer connection")
	errUnproven       = fmt.Errorf("no frame within %v, while another session is active", proofTimeout)
	errPathChanged    = errors.New("this host now reaches the server by another path")
	errNetworkChanged = errors.New("the network of this host changed")
	errAsked          = errors.New("asked to connect again")
	errSuspended      = errors.New("this host was suspended")
	errPeerSilent     = errors.New("the peer was silent")
	errPeerStuck      = errors.New("the peer took nothing")
	errCrowded        = errors.New("made room for newer connections")
	errStopped        = errors.New("stopped")
)

// A TruncatedError is a handshake message that ends too early.
type TruncatedError struct {
	Got, Want int // in bytes
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("peer closed after %d of %d bytes", e.Got, e.Want)
}

// oldestClock is earlier than any right clock that runs this program.
var oldestClock = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A ClockSkewError is a client whose clock is too far from the server's.
type ClockSkewError struct {
	Skew time.Duration // of the client's clock: positive is ahead of ours; cut off at about 292 years
	Now  time.Time     // our own clock
}

func (e *ClockSkewError) Error() string {
	if e.Now.Before(oldestClock) {
		return fmt.Sprintf("our own clock is wrong: it says %s; set it (NTP) and the client, %.0f s away, may connect",
			e.Now.UTC().Format(time.DateTime), e.Skew.Abs().Seconds())
	}
	direction := "ahead of"
	if e.Skew < 0 {
		direction = "behind"
	}
	return fmt.Sprintf("the client's clock is %.0f s %s ours; check the clock (NTP) there", e.Skew.Abs().Seconds(), direction)
}

// skew is how far the Unix time that a peer sent is ahead of our clock. Every
// value of both is possible, so nothing here may overflow.
func skew(theirs uint64, now time.Time) time.Duration {
	const limit = int64(math.MaxInt64 / time.Second)
	far, near := int64(min(theirs, math.MaxInt64/2)), max(min(now.Unix(), math.MaxInt64/2), -math.MaxInt64/2)
	return time.Duration(max(min(far-near, limit), -limit)) * time.Second
}

// A GaveUpError is what [Client.Run] returns when its limit is reached.
type GaveUpError struct {
	Attempts int   // that failed, one after the other
	Err      error // of the last attempt
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("gave up after %d attempts: %v", e.Attempts, e.Err)
}

func (e *GaveUpError) Unwrap() error { return e.Err }

// isAuthError reports whether err says that the peer answers, and that we do
// not trust each other. To try again soon is of no use then.
func isAuthError(err error) bool {
	return errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoAnswer)
}

// isClosed reports whether err is the end of a connection by the peer's will.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
