package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It passes only when
// the test fails.
const patience = 20 * time.Second

// memDevice is a device whose host is the test.
type memDevice struct {
	fromHost chan []byte // the session reads these
	toHost   chan []byte // the session writes these

	mu      sync.Mutex
	expired chan struct{}
	broken  error // what WriteBatch returns
}

func newDevice() *memDevice {
	return &memDevice{
		fromHost: make(chan []byte, 1<<14),
		toHost:   make(chan []byte, 1<<14),
		expired:  make(chan struct{}),
	}
}

func (d *memDevice) ReadBatch(bufs [][]byte, sizes []int) (n int, err error) {
	d.mu.Lock()
	expired := d.expired
	d.mu.Unlock()
	select {
	case packet, ok := <-d.fromHost:
		if !ok {
			return 0, io.ErrClosedPipe
		}
		sizes[n] = copy(bufs[n], packet)
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	}
	for n = 1; n < len(bufs) && len(d.fromHost) > 0; n++ {
		sizes[n] = copy(bufs[n], <-d.fromHost)
	}
	return n, nil
}

func (d *memDevice) WriteBatch(packets [][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	for _, packet := range packets {
		d.toHost <- bytes.Clone(packet)
	}
	return nil
}

func (d *memDevice) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.expired:
		d.expired = make(chan struct{})
	default:
	}
	if !t.IsZero() {
		close(d.expired)
	}
	return nil
}

// want waits for a packet to come out of the tunnel.
func (d *memDevice) want(t *testing.T, packet []byte) {
	t.Helper()
	select {
	case got := <-d.toHost:
		if !bytes.Equal(got, packet) {
			t.Fatalf("the device got %d bytes %x…, want %d bytes %x…", len(got), head(got), len(packet), head(packet))
		}
	case <-time.After(patience):
		t.Fatalf("the device got nothing, want %x…", head(packet))
	}
}

func head(b []byte) []byte { return b[:min(len(b), 8)] }

// ipv4 makes something that begins like an IPv4 packet, of n bytes.
func ipv4(n int, seed uint32) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(uint32(i)*7 + seed)
	}
	p[0] = 0x45
	binary.LittleEndian.PutUint32(p[4:], seed)
	return p
}

// logged collects log messages, and lets a test wait for them.
type logged chan slog.Record

func newLogger() (*slog.Logger, logged) {
	records := make(logged, 1<<12)
	return slog.New(records), records
}

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l logged) WithGroup(string) slog.Handler            { return l }
func (l logged) Handle(_ context.Context, r slog.Record) error {
	l <- r
	return nil
}

// wait skips to the next record with a message.
func (l logged) wait(t *testing.T, message string) slog.Record {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case r := <-l:
			if r.Message == message {
				return r
			}
		case <-timeout:
			t.Fatalf("%q was not logged", message)
		}
	}
}

// cause is the error of a record.
func cause(r slog.Record) (err error) {
	r.Attrs(func(a slog.Attr) bool {
		if e, ok := a.Value.Any().(error); ok {
			err = e
		}
		return true
	})
	return err
}

var testKey = Key([]byte("0123456789 a key of the tests 32"))

const testMTU = 9000

// testConfig is complete, with a device and a log of its own.
func testConfig(t *testing.T) (Config, *memDevice, logged) {
	t.Helper()
	device := newDevice()
	logger, records := newLogger()
	cfg, err := Config{Key: testKey, Device: device, MTU: testMTU, Logger: logger}.complete()
	if err != nil {
		t.Fatal(err)
	}
	return cfg, device, records
}

// run starts Serve or Run, and returns what stops it and waits for its end.
func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return sync.OnceFunc(func() {
		t.Helper()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("stopped with %v", err)
			}
		case <-time.After(patience):
			t.Error("does not stop")
		}
	})
}

// pipeListener accepts connections that are pipes in memory.
type pipeListener struct {
	conns  chan net.Conn
	errs   chan error
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), errs: make(chan error), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// scriptConn is a connection whose peer has said everything in advance, and
// is read at most step() bytes at a time.
type scriptConn struct {
	net.Conn
	input   []byte
	step    func() int
	written bytes.Buffer
}

func (c *scriptConn) Read(b []byte) (int, error) {
	if len(c.input) == 0 {
		return 0, io.EOF
	}
	n := min(len(b), len(c.input))
	if c.step != nil {
		n = min(n, c.step())
	}
	copy(b, c.input[:n])
	c.input = c.input[n:]
	return n, nil
}

func (c *scriptConn) Write(b []byte) (int, error)      { return c.written.Write(b) }
func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
