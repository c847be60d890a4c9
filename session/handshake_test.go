package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
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
			cfg := &Config{Key: testKey, Now: func() time.Time { return now }, Rand: bytes.NewReader(make([]byte, randomSize)), Logger: slog.New(slog.DiscardHandler)}
			_, _, _, err := serverHandshake(conn, cfg, noReplays(1))
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
		"server": {helloTimeout, func(c net.Conn, cfg *Config) error { _, _, _, err := serverHandshake(c, cfg, noReplays(1)); return err }},
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

// noReplays is a memory without a file.
func noReplays(limit int) *replays { return openReplays(limit, "", time.Time{}, nil) }

func macOf(i int) (m helloMAC) { binary.LittleEndian.PutUint32(m[:], uint32(i)); return m }

func TestReplays(t *testing.T) {
	now := time.Unix(1_790_000_000, 500)
	r := noReplays(4)
	add := func(i int, now time.Time) bool {
		isNew, err := r.add(macOf(i), time.Unix(1_790_000_000, 500), now)
		if err != nil {
			t.Fatal(err)
		}
		return isNew
	}
	for i := range 4 {
		if !add(i, now) || add(i, now) {
			t.Fatalf("hello %d is not accepted just once", i)
		}
	}
	// One more drops the oldest, and no other.
	if !add(4, now) || add(1, now) || !add(0, now) {
		t.Error("a full memory does not drop the oldest")
	}
	// What is too old to be accepted is forgotten, and not a second before.
	if add(4, now.Add(maxSkew+time.Second)) {
		t.Error("forgotten too early")
	}
	if !add(9, now.Add(maxSkew+2*time.Second)) || len(r.until) != 1 || len(r.order) != 1 {
		t.Errorf("%d and %d entries are left", len(r.until), len(r.order))
	}
}

// What was accepted before a restart is refused after it, however the process
// ended, and the file does not grow.
func TestReplaysFile(t *testing.T) {
	const limit = 4
	path := filepath.Join(t.TempDir(), "dsvpn", "hellos")
	now := time.Unix(1_790_000_000, 0)
	open := func() *replays {
		r := openReplays(limit, path, now, slog.New(slog.DiscardHandler))
		t.Cleanup(r.close)
		return r
	}
	add := func(r *replays, i int) bool {
		isNew, err := r.add(macOf(i), now, now)
		if err != nil {
			t.Fatal(err)
		}
		return isNew
	}
	first := open()
	if first.knows(now.Add(maxSkew)) || !first.knows(now.Add(maxSkew+2*time.Second)) {
		t.Error("without a file, what a predecessor may have accepted counts as known")
	}
	for i := range 5 * limit {
		if !add(first, i) {
			t.Errorf("hello %d is not accepted", i)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 2*limit*recordSize || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	torn, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = torn.Write(make([]byte, recordSize-1)) // the crash was here
		torn.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	second := open()
	if !second.knows(now) {
		t.Error("with a file, nothing counts as known")
	}
	for i := 4 * limit; i < 5*limit; i++ {
		if add(second, i) {
			t.Errorf("hello %d is accepted again", i)
		}
	}
	if !add(second, 100) || add(open(), 100) {
		t.Error("the file does not go on from a torn record")
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files that are left: %v, %v", files, err)
	}

	now = now.Add(maxSkew + 2*time.Second)
	if third := open(); len(third.order) != 0 {
		t.Errorf("%d entries outlive their use", len(third.order))
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xff}, 3*recordSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if odd := open(); len(odd.order) != 0 {
		t.Errorf("%d entries are made of rubbish", len(odd.order))
	}
}

// A file that cannot be used is no reason not to serve.
func TestReplaysWithoutFile(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	logger, records := newLogger()
	r := openReplays(1, filepath.Join(blocked, "hellos"), time.Unix(1_790_000_000, 0), logger)
	records.wait(t, "accepted hellos are not kept for the next start")
	if isNew, err := r.add(macOf(1), time.Unix(1_790_000_000, 0), time.Unix(1_790_000_000, 0)); !isNew || err != nil {
		t.Errorf("add = %v, %v", isNew, err)
	}
}
