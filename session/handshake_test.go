package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// helloAt is an authentic hello of any time.
func helloAt(key Key, unix uint64) []byte {
	hello := make([]byte, helloSize)
	binary.LittleEndian.PutUint64(hello[randomSize:], unix)
	newExchange(&key).seal(hello)
	return hello
}

func TestServerRefuses(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	good := helloAt(testKey, uint64(now.Unix()))
	flipped := func(at int) []byte {
		hello := bytes.Clone(good)
		hello[at] ^= 1
		return hello
	}
	for _, tt := range []struct {
		name  string
		hello []byte
		want  string
	}{
		{"nothing", nil, "peer closed after 0 of 72 bytes"},
		{"71 bytes", good[:71], "peer closed after 71 of 72 bytes"},
		{"other key", helloAt(Key{}, uint64(now.Unix())), ErrWrongKey.Error()},
		{"random changed", flipped(0), ErrWrongKey.Error()},
		{"time changed", flipped(randomSize), ErrWrongKey.Error()},
		{"mac changed", flipped(helloSize - 1), ErrWrongKey.Error()},
		{"a browser", []byte("GET / HTTP/1.1\r\nHost: example.com\r\n" + strings.Repeat("x", 60)), ErrWrongKey.Error()},
		{"early", helloAt(testKey, uint64(now.Unix()-7201)), "the client's clock is 7201 s behind ours"},
		{"late", helloAt(testKey, uint64(now.Unix()+7201)), "the client's clock is 7201 s ahead of ours"},
		{"time 0", helloAt(testKey, 0), "1790000000 s behind"},
		{"time -1", helloAt(testKey, math.MaxUint64), "s ahead of ours"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := &scriptConn{input: tt.hello}
			cfg := &Config{Key: testKey, Now: func() time.Time { return now }, Rand: bytes.NewReader(make([]byte, randomSize))}
			_, _, err := serverHandshake(conn, cfg, newReplays(1))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
			if conn.written.Len() > 0 {
				t.Error("the server answers")
			}
		})
	}
}

func TestClientRefuses(t *testing.T) {
	r := recorded()
	for _, tt := range []struct {
		name   string
		answer []byte
		want   error
	}{
		{"nothing", nil, ErrNoAnswer},
		{"63 bytes", r.answer[:63], &TruncatedError{63, 64}},
		{"a web server", bytes.Repeat([]byte("HTTP/1.1"), 8), ErrWrongKey},
		{"our own hello", r.hello[:answerSize], ErrWrongKey},
	} {
		_, _, err := clientHandshake(&scriptConn{input: tt.answer}, r.config(r.hello))
		if want := (*TruncatedError)(nil); errors.As(tt.want, &want) {
			if got := (*TruncatedError)(nil); !errors.As(err, &got) || *got != *want {
				t.Errorf("%s: %v, want %v", tt.name, err, want)
			}
		} else if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

// Both sides wait, but not for ever.
func TestHandshakeTimeouts(t *testing.T) {
	for name, tt := range map[string]struct {
		wait time.Duration
		side func(net.Conn, *Config) error
	}{
		"server": {helloTimeout, func(c net.Conn, cfg *Config) error { _, _, err := serverHandshake(c, cfg, newReplays(1)); return err }},
		"client": {answerTimeout, func(c net.Conn, cfg *Config) error { _, _, err := clientHandshake(c, cfg); return err }},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			go io.Copy(io.Discard, far)
			start := time.Now()
			err := tt.side(near, recorded().config(recorded().hello))
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != tt.wait {
				t.Errorf("%s: %v after %v", name, err, time.Since(start))
			}
		})
	}
}

func TestSkew(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		theirs   uint64
		now      time.Time
		from, to time.Duration
	}{
		{100, time.Unix(100, 999), 0, 0},
		{100, time.Unix(101, 0), -time.Second, -time.Second},
		{0, time.Unix(1<<31, 0), -69 * year, -68 * year},
		{0, time.Unix(math.MaxInt64, 0), math.MinInt64, -292 * year},
		{math.MaxUint64, time.Unix(0, 0), 292 * year, math.MaxInt64},
		{math.MaxUint64, time.Unix(math.MinInt64, 0), 292 * year, math.MaxInt64},
		{math.MaxInt64, time.Unix(-1, 0), 292 * year, math.MaxInt64},
		{math.MaxUint64, time.Time{}, 292 * year, math.MaxInt64},
		{1 << 63, time.Unix(1, 0), 292 * year, math.MaxInt64},
	} {
		if got := skew(tt.theirs, tt.now); got < tt.from || got > tt.to {
			t.Errorf("skew(%d, %v) = %v, want %v to %v", tt.theirs, tt.now.Unix(), got, tt.from, tt.to)
		}
	}
	ours := (&ClockSkewError{Skew: 56 * year, Now: time.Unix(60, 0)}).Error()
	if !strings.Contains(ours, "our own clock is wrong: it says 1970-01-01 00:01:00") {
		t.Errorf("a server without a clock says %q", ours)
	}
}

func TestReplays(t *testing.T) {
	now := time.Unix(1_790_000_000, 500)
	mac := func(i int) (m helloMAC) { binary.LittleEndian.PutUint32(m[:], uint32(i)); return m }
	r := newReplays(4)
	for i := range 4 {
		if !r.add(mac(i), now, now) || r.add(mac(i), now, now) {
			t.Fatalf("hello %d is not accepted just once", i)
		}
	}
	// One more drops the oldest, and no other.
	if !r.add(mac(4), now, now) || r.add(mac(1), now, now) || !r.add(mac(0), now, now) {
		t.Error("a full memory does not drop the oldest")
	}
	// What is too old to be accepted is forgotten, and not a second before.
	if r.add(mac(4), now, now.Add(maxSkew+time.Second)) {
		t.Error("forgotten too early")
	}
	if !r.add(mac(9), now, now.Add(maxSkew+2*time.Second)) || len(r.until) != 1 || len(r.order) != 1 {
		t.Errorf("%d and %d entries are left", len(r.until), len(r.order))
	}
}
