package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a server whose clients come through pipes, so that it may run in a
// bubble of synctest, where time is free.
type bench struct {
	*testing.T
	*pipeListener
	cfg    Config
	device *memDevice
	log    logged
	stop   func()
}

// serve runs f with a server, in a bubble.
func serve(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg, device, log := testConfig(t)
		b := &bench{T: t, pipeListener: newPipeListener(), cfg: cfg, device: device, log: log}
		b.stop = run(t, func(ctx context.Context) error { return Serve(ctx, cfg, b) })
		defer b.stop()
		f(b)
	})
}

// connect does a handshake as the C client does: no frame follows by itself,
// and no heartbeat ever.
func (b *bench) connect() *Conn {
	b.Helper()
	conn := b.dial()
	up, down, err := clientHandshake(conn, &b.cfg)
	if err != nil {
		b.Fatal(err)
	}
	c := newConn(conn, &b.cfg, &charmCodec{up}, &charmCodec{down})
	c.heartbeat.Stop()
	b.Cleanup(func() { c.Close(errStopped) })
	return c
}

func (b *bench) send(c *Conn, packet []byte) {
	b.Helper()
	if err := c.Send([][]byte{packet}); err != nil {
		b.Fatal(err)
	}
}

// wantFrom waits for a packet of the server's device at a client.
func (b *bench) wantFrom(c *Conn, packet []byte) {
	b.Helper()
	b.device.fromHost <- packet
	for {
		got, err := c.Receive()
		if err != nil {
			b.Fatal(err)
		}
		if len(got) > 0 {
			comparePackets(b.T, got, [][]byte{packet})
			return
		}
	}
}

// exchange checks that c has the session.
func (b *bench) exchange(c *Conn) {
	b.Helper()
	b.send(c, ipv4(100, 1))
	b.device.want(b.T, ipv4(100, 1))
	b.wantFrom(c, ipv4(200, 2))
}

// ended tells the end that the other side of a pipe has made. (To set a
// deadline fails then, other than with TCP.)
func ended(err error) bool { return err == errPeerClosed || err == io.ErrClosedPipe }

// wantClosed waits for the server to close a connection without a byte.
func wantClosed(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d bytes, %v; want the end", n, err)
	}
}

func TestTakeOver(t *testing.T) {
	serve(t, func(b *bench) {
		// With no session, the handshake is enough.
		first := b.connect()
		b.log.wait(b.T, "Session established")
		b.wantFrom(first, ipv4(50, 1))
		b.exchange(first)

		// With one, it is not.
		second := b.connect()
		synctest.Wait()
		b.exchange(first)

		// A frame is.
		b.send(second, ipv4(60, 3))
		b.log.wait(b.T, "Session established")
		b.device.want(b.T, ipv4(60, 3))
		b.exchange(second)
		if reason := cause(b.log.wait(b.T, "Client disconnected")); reason != errReplaced {
			b.Errorf("the first client is gone for %v", reason)
		}
		if _, err := first.Receive(); !ended(err) {
			b.Errorf("the first client sees %v", err)
		}

		// An empty frame is, too.
		third := b.connect()
		b.send(third, nil)
		b.log.wait(b.T, "Session established")
		b.exchange(third)

		b.stop()
		if _, err := third.Receive(); !ended(err) {
			b.Errorf("the server stops, and its client sees %v", err)
		}
	})
}

// A session that has ended, and is replaced before that is noticed, was one.
func TestReplacedAtItsEnd(t *testing.T) {
	cfg, _, _ := testConfig(t)
	s := &server{tunnel: &tunnel{cfg: cfg, session: &cfg.Status.session}}
	old, heir := testConn(t, &scriptConn{}), testConn(t, &scriptConn{})
	defer s.admit(old, true).Stop()
	defer s.admit(heir, true).Stop()
	old.Close(errPeerClosed)
	if err := s.takeOver(heir); err != nil {
		t.Fatal(err)
	}
	if !s.leave(old) {
		t.Error("the old session counts as a newcomer")
	}
}

// A newcomer that proves nothing goes after a while, unless the session ends
// before: then there is nothing to prove.
func TestUnprovenNewcomer(t *testing.T) {
	serve(t, func(b *bench) {
		first := b.connect()
		b.log.wait(b.T, "Session established")
		b.exchange(first)

		start := time.Now()
		idle := b.connect()
		var err error
		for err == nil {
			_, err = idle.Receive()
		}
		if !ended(err) || time.Since(start) != proofTimeout {
			b.Errorf("the newcomer sees %v after %v", err, time.Since(start))
		}
		go first.Receive() // takes the heartbeats
		synctest.Wait()

		heir := b.connect()
		synctest.Wait()
		first.Close(errStopped)
		b.log.wait(b.T, "Session established")
		b.log.wait(b.T, "Client disconnected")
		b.exchange(heir)
	})
}

// A recorded hello is worth nothing, and nor is a forged frame behind it.
func TestReplay(t *testing.T) {
	serve(t, func(b *bench) {
		recorder := &tapped{Conn: b.dial()}
		up, down, err := clientHandshake(recorder, &b.cfg)
		if err != nil {
			b.Fatal(err)
		}
		hello := recorder.sent.Bytes()
		live := newConn(recorder.Conn, &b.cfg, &charmCodec{up}, &charmCodec{down})
		defer live.Close(errStopped)
		b.exchange(live)

		replayer := b.dial()
		go replayer.Write(hello)
		wantClosed(b.T, replayer)
		if err := cause(b.log.wait(b.T, "handshake failed")); !errors.Is(err, ErrReplayed) {
			b.Errorf("the replay fails with %v", err)
		}
		b.exchange(live)

		forger := b.connect()
		forger.conn.Write(bytes.Repeat([]byte{16, 0}, 12))
		if err := cause(b.log.wait(b.T, "newcomer dropped")); err != ErrCorrupted {
			b.Errorf("the forger is dropped for %v", err)
		}
		b.exchange(live)
	})
}

type tapped struct {
	net.Conn
	sent bytes.Buffer
}

func (c *tapped) Write(b []byte) (int, error) {
	c.sent.Write(b)
	return c.Conn.Write(b)
}

// Who only connects disturbs nobody, keeps nobody out, and does not stay.
func TestSilentConnections(t *testing.T) {
	serve(t, func(b *bench) {
		live := b.connect()
		b.exchange(live)
		go func() { // takes the heartbeats
			for _, err := live.Receive(); err == nil; {
				_, err = live.Receive()
			}
		}()

		var silent []net.Conn
		for range 3 * maxPendingPrefix {
			silent = append(silent, b.dial())
		}
		synctest.Wait()
		b.send(live, ipv4(30, 3))
		b.device.want(b.T, ipv4(30, 3))
		start := time.Now()
		for _, conn := range silent[:2*maxPendingPrefix] {
			wantClosed(b.T, conn) // they made room
		}
		if time.Since(start) != 0 {
			b.Errorf("room is made after %v", time.Since(start))
		}
		next := b.connect() // takes the place of one more
		b.send(next, ipv4(30, 4))
		b.device.want(b.T, ipv4(30, 4))
		for _, conn := range silent[2*maxPendingPrefix:] {
			wantClosed(b.T, conn)
		}
		if time.Since(start) != helloTimeout {
			b.Errorf("silence is borne for %v", time.Since(start))
		}
	})
}

// Nobody can tell from when a connection is closed what was wrong with it. Only
// who closes first is closed at once.
func TestRefusedAlike(t *testing.T) {
	serve(t, func(b *bench) {
		now := uint64(b.cfg.Now().Unix())
		replayed := helloAt(testKey, now)
		first := b.dial()
		go first.Write(replayed)
		if err := readMessage(first, make([]byte, answerSize)); err != nil {
			b.Fatal(err)
		}
		defer first.Close()

		start := time.Now()
		var conns []net.Conn
		for _, sent := range [][]byte{
			nil, {1}, make([]byte, helloSize-1), make([]byte, helloSize), make([]byte, helloSize+1), make([]byte, 1<<16),
			helloAt(Key{}, now), replayed, append(bytes.Clone(replayed), 1, 2, 3),
			helloAt(testKey, now-3*3600), helloAt(testKey, now+3*3600), helloAt(testKey, 0), helloAt(testKey, 1<<64-1),
		} {
			conn := b.dial()
			conns = append(conns, conn)
			go conn.Write(sent)
		}
		for i, conn := range conns {
			wantClosed(b.T, conn)
			if after := time.Since(start); after != helloTimeout {
				b.Errorf("connection %d is closed after %v", i, after)
			}
		}

		refused := b.dial()
		refused.Write(make([]byte, helloSize))
		synctest.Wait()
		start = time.Now()
		refused.Close()
		synctest.Wait()
		time.Sleep(sinkPause)
		b.stop() // waits for all handlers
		if after := time.Since(start); after != sinkPause {
			b.Errorf("a refused peer that has gone stays for %v", after)
		}
	})
}

// What the accepted hellos of a predecessor are is in a file. A server that has
// lost it lets a session begin only with a frame.
func TestReplayAfterRestart(t *testing.T) {
	cfg, _, _ := testConfig(t)
	cfg.Replays = filepath.Join(t.TempDir(), "hellos")
	hello := helloAt(testKey, uint64(cfg.Now().Unix()))
	// knock sends the hello, and reports whether there is an answer.
	knock := func(t *testing.T, l *pipeListener) bool {
		conn := l.dial()
		t.Cleanup(func() { conn.Close() })
		go conn.Write(hello)
		return readMessage(conn, make([]byte, answerSize)) == nil
	}
	for _, tt := range []struct {
		name               string
		before             func() error
		answered, sessions bool
	}{
		{"first start", func() error { return nil }, true, false},
		{"restart", func() error { return nil }, false, false},
		{"file lost", func() error { return os.Remove(cfg.Replays) }, true, false},
		{"without a file", func() error { cfg.Replays = ""; return nil }, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if err := tt.before(); err != nil {
					t.Fatal(err)
				}
				cfg, l := cfg, newPipeListener()
				cfg.Status = NewStatus()
				cfg.Now = func() time.Time { return time.Unix(int64(binary.LittleEndian.Uint64(hello[randomSize:])), 0) }
				cfg.Device = newDevice()
				stop := run(t, func(ctx context.Context) error { return Serve(ctx, cfg, l) })
				defer stop()
				if got := knock(t, l); got != tt.answered {
					t.Errorf("answered: %v", got)
				}
				synctest.Wait()
				if got := cfg.Status.Report().Remote != nil; got != tt.sessions {
					t.Errorf("a session: %v", got)
				}
			})
		})
	}
}

// Clients that share the key and fight are told apart from one that roams.
func TestRivals(t *testing.T) {
	serve(t, func(b *bench) {
		takeOver := func(pause time.Duration) {
			time.Sleep(pause)
			c := b.connect()
			b.send(c, nil)
			b.log.wait(b.T, "Session established")
			go func() {
				for _, err := c.Receive(); err == nil; {
					_, err = c.Receive()
				}
			}()
			synctest.Wait()
		}
		// takeOvers returns how often they are said to be a fight.
		takeOvers := func(pause time.Duration) (said int) {
			for range 20 {
				takeOver(pause)
				for len(b.log) > 0 {
					if r := <-b.log; strings.HasPrefix(r.Message, "two clients") {
						said++
					}
				}
			}
			return said
		}
		if n := takeOvers(rivalInterval / 2); n != 0 {
			b.Errorf("a client that roams is taken for two, %d times", n)
		}
		if n := takeOvers(5 * time.Second); n != 1 {
			b.Errorf("a fight is told of %d times in two minutes, want once", n)
		}
	})
}

// A client that does not read blocks what is sent to it, and no more.
func TestPeerStopsReading(t *testing.T) {
	serve(t, func(b *bench) {
		deaf := b.connect()
		b.log.wait(b.T, "Session established")
		b.device.fromHost <- ipv4(100, 1)
		synctest.Wait() // the device's reader waits for the deaf client now
		for i := range uint32(10) {
			b.send(deaf, ipv4(100, i))
			b.device.want(b.T, ipv4(100, i))
		}
		next := b.connect()
		b.send(next, ipv4(70, 5))
		b.device.want(b.T, ipv4(70, 5))
		b.exchange(next)
	})
}

// The same over TCP, where buffers are large: nothing grows, packets for the
// peer are dropped, and all others come through.
func TestDeafPeer(t *testing.T) {
	cfg, device, log := testConfig(t)
	cfg.Timeout = 8 * time.Second
	addr, stop := loopback(t, cfg, 0)
	defer stop()
	connect := func() *Conn {
		conn, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		up, down, err := clientHandshake(conn, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(conn, &cfg, &charmCodec{up}, &charmCodec{down})
		t.Cleanup(func() { c.Close(errStopped) })
		return c
	}
	send := func(c *Conn, packet []byte) {
		if err := c.Send([][]byte{packet}); err != nil {
			t.Fatal(err)
		}
		device.want(t, packet)
	}
	deaf := connect()
	log.wait(t, "Session established")
	big := ipv4(testMTU, 1)
	session := cfg.Status.session.Load()
	var before, after runtime.MemStats
	for end := time.Now().Add(patience); session.Stats().Late < 1<<14; {
		device.fromHost <- big
		if time.Now().After(end) {
			t.Fatalf("packets for a deaf peer are not dropped: %+v", session.Stats())
		}
		if before.HeapAlloc == 0 && session.Stats().Late > 0 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
	}
	send(deaf, ipv4(100, 2)) // the other direction
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Errorf("%d packets for a deaf peer take %d bytes", session.Stats().Late, grown)
	}
	if r := cfg.Status.Report(); r.Late == 0 || r.Ready() == nil {
		t.Errorf("the report says %v", r)
	}

	next := connect()
	send(next, ipv4(100, 3))
	device.fromHost <- ipv4(100, 4)
	for {
		packets, err := next.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(packets, func(p []byte) bool { return bytes.Equal(p, ipv4(100, 4)) }); i >= 0 {
			break
		}
	}
}

func TestAcceptErrors(t *testing.T) {
	serve(t, func(b *bench) {
		for range 3 {
			b.errs <- syscall.EMFILE
		}
		b.exchange(b.connect())
	})
}

// What ends a server for good.
func TestServeFails(t *testing.T) {
	gone := errors.New("gone")
	testCfg, _, _ := testConfig(t)
	for name, tt := range map[string]struct {
		do   func(b *pipeListener, d *memDevice)
		want error
	}{
		"listener closed": {func(l *pipeListener, _ *memDevice) { l.Close() }, net.ErrClosed},
		"device closed":   {func(_ *pipeListener, d *memDevice) { close(d.fromHost) }, io.ErrClosedPipe},
		"device refuses": {func(l *pipeListener, d *memDevice) {
			d.broken = gone
			conn := l.dial()
			up, down, _ := clientHandshake(conn, &Config{Key: testKey, Now: time.Now, Rand: bytes.NewReader(make([]byte, 32))})
			c := newConn(conn, &testCfg, &charmCodec{up}, &charmCodec{down})
			defer c.Close(errStopped)
			c.Send([][]byte{ipv4(40, 1)})
		}, gone},
	} {
		synctest.Test(t, func(t *testing.T) {
			cfg, device, _ := testConfig(t)
			l := newPipeListener()
			done := make(chan error)
			go func() { done <- Serve(t.Context(), cfg, l) }()
			synctest.Wait()
			tt.do(l, device)
			if err := <-done; !errors.Is(err, tt.want) {
				t.Errorf("%s: Serve = %v, want %v", name, err, tt.want)
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []Config{{MTU: 1500}, {Device: newDevice()}, {Device: newDevice(), MTU: maxPacket + 1}} {
		if err := Serve(t.Context(), cfg, newPipeListener()); err == nil {
			t.Errorf("Serve accepts %+v", cfg)
		}
		if err := NewClient(cfg, "localhost", 1, 0).Run(t.Context()); err == nil {
			t.Errorf("Run accepts %+v", cfg)
		}
	}
}

func TestListenErrors(t *testing.T) {
	busy, err := Listen(t.Context(), Config{}, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := uint16(busy.Addr().(*net.TCPAddr).Port)
	for _, tt := range []struct {
		address string
		port    uint16
		want    string
	}{
		{"127.0.0.1", port, "another program listens on port"},
		{"192.0.2.1", 0, "192.0.2.1 is no address of this host"},
		{"[2001:db8::1]", 0, ""},
	} {
		if _, err := Listen(t.Context(), Config{}, tt.address, tt.port); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Listen(%q, %d): %v, want %q", tt.address, tt.port, err, tt.want)
		}
	}
	if hint := listenHint(syscall.EACCES, "", 443); !strings.Contains(hint, "CAP_NET_BIND_SERVICE") {
		t.Errorf("port 443 without a right to it: %q", hint)
	}
}

// A port scan is no news, a client with a wrong key is.
func TestRefusalLevels(t *testing.T) {
	serve(t, func(b *bench) {
		for _, tt := range []struct {
			sent  []byte
			level slog.Level
		}{
			{nil, slog.LevelDebug},
			{make([]byte, helloSize-1), slog.LevelInfo},
			{make([]byte, helloSize), slog.LevelInfo},
		} {
			conn := b.dial()
			synctest.Wait() // the server reads
			if len(tt.sent) > 0 {
				conn.Write(tt.sent)
			}
			conn.Close()
			if r := b.log.wait(b.T, "handshake failed"); r.Level != tt.level {
				b.Errorf("%d bytes are logged as %v: %v", len(tt.sent), r.Level, cause(r))
			}
		}
	})
}
