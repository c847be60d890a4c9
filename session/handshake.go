package session

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"dsvpn/session/charm"
)

// Sizes of the parts of a handshake, in bytes.
const (
	randomSize = 32
	timeSize   = 8
	macSize    = charm.HashSize

	helloSize  = randomSize + timeSize + macSize // what the client sends: random, time, mac
	answerSize = randomSize + macSize            // what the server answers: random, mac
)

const (
	// maxSkew is how far the clock of a client may be off. Version 1 peers
	// agree on it.
	maxSkew = 2 * time.Hour

	// helloTimeout is how long a client may take for its hello, which it
	// sends at once. The C program waits as long.
	helloTimeout = 10 * time.Second

	// answerTimeout is how long a server may take for its answer. A busy
	// server of the C program takes one client after another, and may wait
	// helloTimeout for the one before us; twice that is enough. (The C
	// program waits 60 s, a minute without network for its user.)
	answerTimeout = 20 * time.Second
)

// exchangeIV sets the handshake apart from all other uses of the key.
var exchangeIV = [charm.IVSize]byte([]byte("VPN Key Exchange"))

// exchange is the transcript of a handshake. Both sides feed it the same
// messages in the same order, so it ends in a key that only they know.
type exchange struct {
	charm.State
}

func newExchange(key *Key) *exchange {
	return &exchange{charm.New((*[charm.KeySize]byte)(key), &exchangeIV)}
}

// seal puts the mac behind the payload that fills the rest of message.
func (x *exchange) seal(message []byte) {
	payload, mac := message[:len(message)-macSize], message[len(message)-macSize:]
	sum := x.Hash(payload)
	copy(mac, sum[:])
}

// check reports whether the mac of message is right.
func (x *exchange) check(message []byte) bool {
	payload, mac := message[:len(message)-macSize], message[len(message)-macSize:]
	sum := x.Hash(payload)
	return subtle.ConstantTimeCompare(sum[:], mac) == 1
}

// streams ends the handshake: it derives the ciphers of the two directions.
// Whoever made the exchange wipes it.
func (x *exchange) streams() (up, down charm.State) {
	key := x.Hash(nil)
	up = charm.New(&key, &[charm.IVSize]byte{0})
	down = charm.New(&key, &[charm.IVSize]byte{1})
	clear(key[:])
	return up, down
}

// clientHandshake proves the key to the server at the other end of conn, and
// has it prove the same.
func clientHandshake(conn net.Conn, cfg *Config) (up, down charm.State, err error) {
	if err := conn.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return up, down, err
	}
	x := newExchange(&cfg.Key)
	defer x.Wipe()
	var hello [helloSize]byte
	if _, err := io.ReadFull(cfg.Rand, hello[:randomSize]); err != nil {
		return up, down, fmt.Errorf("random source: %w", err)
	}
	binary.LittleEndian.PutUint64(hello[randomSize:], uint64(cfg.Now().Unix()))
	x.seal(hello[:])
	if _, err := conn.Write(hello[:]); err != nil {
		return up, down, fmt.Errorf("send hello: %w", err)
	}

	var answer [answerSize]byte
	if err := readMessage(conn, answer[:]); err != nil {
		if truncated := (*TruncatedError)(nil); errors.As(err, &truncated) && truncated.Got == 0 {
			err = ErrNoAnswer
		}
		return up, down, fmt.Errorf("read the server's answer: %w", err)
	}
	if !x.check(answer[:]) {
		return up, down, ErrWrongKey
	}
	up, down = x.streams()
	return up, down, conn.SetDeadline(time.Time{})
}

// serverHandshake has the client at the other end of conn prove the key, and
// does the same. It reports whether the hello is known not to be a replay of an
// older one. A client that fails gets no byte.
func serverHandshake(conn net.Conn, cfg *Config, seen *replays) (up, down charm.State, proven bool, err error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return up, down, false, err
	}
	var hello [helloSize]byte
	if err := readMessage(conn, hello[:]); err != nil {
		return up, down, false, fmt.Errorf("read hello: %w", err)
	}
	x := newExchange(&cfg.Key)
	defer x.Wipe()
	if !x.check(hello[:]) {
		return up, down, false, ErrWrongKey
	}
	if proven, err = checkTime(&hello, cfg, seen); err != nil {
		return up, down, false, err
	}

	var answer [answerSize]byte
	if _, err := io.ReadFull(cfg.Rand, answer[:randomSize]); err != nil {
		return up, down, false, fmt.Errorf("random source: %w", err)
	}
	x.seal(answer[:])
	if _, err := conn.Write(answer[:]); err != nil {
		return up, down, false, fmt.Errorf("send answer: %w", err)
	}
	up, down = x.streams()
	return up, down, proven, conn.SetDeadline(time.Time{})
}

// checkTime refuses an authentic hello that is too old, too new, or not the
// first of its kind, and reports whether that is certain.
func checkTime(hello *[helloSize]byte, cfg *Config, seen *replays) (certain bool, err error) {
	now := cfg.Now()
	ahead := skew(binary.LittleEndian.Uint64(hello[randomSize:]), now)
	if ahead.Abs() > maxSkew {
		return false, &ClockSkewError{Skew: ahead, Now: now}
	}
	sent := now.Add(ahead)
	isNew, err := seen.add(helloMAC(hello[randomSize+timeSize:]), sent, now)
	if err != nil {
		cfg.Logger.Warn("accepted hellos are no longer kept for the next start", "err", err)
	}
	if !isNew {
		return false, ErrReplayed
	}
	return seen.knows(sent), nil
}

// readMessage fills message, and tells how far it got when it cannot.
func readMessage(conn net.Conn, message []byte) error {
	n, err := io.ReadFull(conn, message)
	switch {
	case err == nil:
		return nil
	case isClosed(err):
		return &TruncatedError{Got: n, Want: len(message)}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w after %d of %d bytes", os.ErrDeadlineExceeded, n, len(message))
	}
	return err
}
