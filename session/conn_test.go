package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dsvpn/session/charm"
)

// testState is the cipher of a direction that both ends of a test use.
func testState() charm.State {
	return charm.New((*[charm.KeySize]byte)(&testKey), nil)
}

// sealed makes a stream of frames.
func sealed(packets ...[]byte) (stream []byte) {
	codec := charmCodec{testState()}
	for _, p := range packets {
		frame := make([]byte, codec.sealedSize(len(p)))
		codec.seal(frame, p)
		stream = append(stream, frame...)
	}
	return stream
}

// connConfig is what a session needs of a configuration.
func connConfig(mtu int) *Config {
	return &Config{MTU: mtu, Timeout: DefaultTimeout, asleep: func() time.Duration { return 0 }}
}

// testConn is a session whose two directions use the same cipher.
func testConn(t testing.TB, conn net.Conn) *Conn {
	c := newConn(conn, connConfig(testMTU), &charmCodec{testState()}, &charmCodec{testState()})
	t.Cleanup(func() { c.Close(errStopped) })
	return c
}

// A batch of any size comes out as it went in, whatever its frames weigh.
func TestSendReceive(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var want [][]byte
	for i := range 3000 {
		want = append(want, ipv4(20+random.IntN(testMTU-19), uint32(i)))
	}
	conn := &scriptConn{step: func() int { return 1 + random.IntN(3*outBufferSize/2) }}
	c := testConn(t, conn)
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(200))
		if err := c.Send(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	conn.input = conn.written.Bytes()
	got, err := receiveAll(conn, testState())
	if err != errPeerClosed {
		t.Errorf("the stream ends with %v", err)
	}
	comparePackets(t, got, want)
}

// A closed session has wiped its keys, also while it is in full use, and then
// neither seals nor opens anything.
func TestCloseWipesKeys(t *testing.T) {
	near, far := net.Pipe()
	go io.Copy(io.Discard, far)
	defer far.Close()
	up, down := &charmCodec{testState()}, &charmCodec{testState()}
	c := newConn(near, connConfig(testMTU), up, down)
	var busy sync.WaitGroup
	begun := make(chan struct{})
	busy.Go(func() {
		for once := sync.OnceFunc(func() { close(begun) }); ; once() {
			if err := c.Send([][]byte{ipv4(1000, 1)}); err != nil {
				return
			}
		}
	})
	busy.Go(func() {
		if packets, err := c.Receive(); err == nil {
			t.Errorf("received %d packets from a peer that sends none", len(packets))
		}
	})
	<-begun
	c.Close(errStopped)
	busy.Wait()
	if up.state != (charm.State{}) || down.state != (charm.State{}) {
		t.Error("the keys are still there")
	}
	if err := c.Send(empty); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send = %v, want %v", err, net.ErrClosed)
	}
	if up.state != (charm.State{}) {
		t.Error("something was sealed without a key")
	}

	// Frames that have come and were not opened in time stay closed.
	script := &scriptConn{input: sealed(ipv4(100, 1)), step: func() int { return 1 << 10 }}
	c = testConn(t, script)
	if err := c.fill(); err != nil {
		t.Fatal(err)
	}
	c.Close(errStopped)
	if packets, err := c.Receive(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive = %d packets, %v, want %v", len(packets), err, net.ErrClosed)
	}
}

// A frame may carry what the device must not get, and the session goes on.
func TestOddFrames(t *testing.T) {
	odd := func(n int, first byte) []byte {
		p := ipv4(max(n, 8), 9)[:n]
		p[0] = first
		return p
	}
	first, last, largest := ipv4(20, 1), odd(40, 0x60), ipv4(testMTU, 2)
	conn := &scriptConn{input: sealed(
		first, nil, nil, odd(100, 0x00), odd(1, 0x0f), odd(100, 0xf5),
		odd(19, 0x45), odd(1, 0x45), odd(39, 0x60), odd(testMTU+1, 0x45), odd(maxPacket, 0x60),
		largest, last,
	)}
	c := testConn(t, conn)
	got, err := c.Receive()
	if err != nil {
		t.Fatal(err)
	}
	comparePackets(t, got, [][]byte{first, largest, last})
	want := Stats{ReceivedPackets: 3, ReceivedBytes: 60 + testMTU, Heartbeats: 2, Unknown: 3, Malformed: 3, Oversized: 2}
	if stats := c.Stats(); stats != want {
		t.Errorf("stats %+v, want %+v", stats, want)
	}
}

// Receive returns for every frame, so that a newcomer can prove itself with
// one that carries no packet.
func TestReceiveHeartbeat(t *testing.T) {
	c := testConn(t, &scriptConn{input: sealed(nil)})
	if packets, err := c.Receive(); len(packets) != 0 || err != nil {
		t.Errorf("Receive = %d packets, %v", len(packets), err)
	}
}

// Whichever byte of a frame is wrong, what came before it is delivered, and
// nothing of it or behind it.
func TestCorruption(t *testing.T) {
	before, hit, after := ipv4(40, 1), ipv4(60, 2), ipv4(40, 3)
	start, end := len(sealed(before)), len(sealed(before, hit))
	for at := start; at < end; at++ {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			stream := sealed(before, hit, after)
			stream[at] ^= flip
			c := testConn(t, &scriptConn{input: stream})
			got, err := c.Receive()
			if err != nil {
				t.Fatalf("byte %d: the packet before it is lost: %v", at-start, err)
			}
			comparePackets(t, got, [][]byte{before})
			got, err = c.Receive()
			// A length that became larger waits for what never comes.
			tooLong := at < start+lengthSize && errors.Is(err, errPeerClosed)
			if len(got) != 0 || !errors.Is(err, ErrCorrupted) && !tooLong {
				t.Fatalf("byte %d: %d packets, %v", at-start, len(got), err)
			}
			if bytes.Contains(c.in.buf, hit[8:]) {
				t.Fatalf("byte %d: the plaintext is in memory", at-start)
			}
			if _, again := c.Receive(); again == nil {
				t.Fatalf("byte %d: the error does not stay", at-start)
			}
		}
	}
}

// piped is a session at one end of a pipe, whose other end is the test's.
func piped(t *testing.T) (*Conn, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	return testConn(t, near), far
}

func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(t)
		start := time.Now()
		frame := make([]byte, headerSize)
		for i := range 3 {
			if _, err := io.ReadFull(peer, frame); err != nil {
				t.Fatal(err)
			}
			if at := time.Since(start); at != time.Duration(i+1)*longestHeartbeat {
				t.Errorf("heartbeat %d after %v", i, at)
			}
		}
		// A packet makes no difference.
		time.Sleep(4 * time.Second)
		go c.Send([][]byte{ipv4(20, 1)})
		if _, err := io.ReadFull(peer, make([]byte, headerSize+20)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, frame); err != nil || time.Since(start) != 4*longestHeartbeat {
			t.Errorf("the heartbeat behind a packet after %v: %v", time.Since(start), err)
		}
		if frames := sealed(nil, nil, nil, ipv4(20, 1), nil); !bytes.HasSuffix(frames, frame) {
			t.Error("the heartbeat is not the next frame of the stream")
		}
	})
}

// A peer is told that there will be heartbeats, even if a packet goes out at
// the same moment.
func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(t)
		c.announce()
		go c.Send([][]byte{ipv4(20, 1)})
		synctest.Wait() // the packet is under way
		start := time.Now()
		if _, err := io.ReadFull(peer, make([]byte, headerSize+20+headerSize)); err != nil || time.Since(start) > retryInterval {
			t.Errorf("packet and heartbeat after %v: %v", time.Since(start), err)
		}
	})
}

// A frame that has begun must go on, and silence between frames may last, if
// the peer is not known to send heartbeats.
func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(t)
		go io.Copy(io.Discard, peer) // heartbeats
		frames := sealed(ipv4(40, 1), ipv4(40, 2), ipv4(40, 3))
		size := headerSize + 40
		go func() {
			time.Sleep(24 * time.Hour)
			peer.Write(frames[:size+1]) // one frame and the start of the next
			time.Sleep(DefaultTimeout - time.Second)
			peer.Write(frames[size+1 : 2*size])
			time.Sleep(24 * time.Hour)
			peer.Write(frames[2*size : 3*size-1])
		}()
		for i := range 2 {
			if got, err := c.Receive(); len(got) != 1 || err != nil {
				t.Fatalf("frame %d: %d packets, %v", i, len(got), err)
			}
		}
		start := time.Now()
		_, err := c.Receive()
		if !errors.Is(err, errPeerSilent) || time.Since(start) != 24*time.Hour+DefaultTimeout {
			t.Errorf("a frame without its end: %v after %v", err, time.Since(start))
		}
	})
}

// A peer that sends heartbeats must go on with them, at the rate that it has.
func TestSilence(t *testing.T) {
	for _, tt := range []struct {
		name      string
		timeout   time.Duration
		intervals []time.Duration // between the peer's heartbeats
		want      time.Duration   // of silence until it is noticed
	}{
		{"like ours", DefaultTimeout, []time.Duration{0, longestHeartbeat, longestHeartbeat}, DefaultTimeout},
		{"only the first", DefaultTimeout, []time.Duration{0}, DefaultTimeout},
		{"late ones", DefaultTimeout, []time.Duration{0, 19 * time.Second, 19 * time.Second}, DefaultTimeout},
		{"a longer time-out", time.Minute, []time.Duration{0, longestHeartbeat}, time.Minute},
		{"a shorter one, the peer not known yet", 4 * time.Second, []time.Duration{0}, 20 * time.Second},
		{"a shorter one here", 4 * time.Second, []time.Duration{0, longestHeartbeat, longestHeartbeat}, 20 * time.Second},
		{"a shorter one on both sides", 4 * time.Second, []time.Duration{0, 2 * time.Second, 2 * time.Second}, 4 * time.Second},
		{"a late one and one that seems early", 4 * time.Second, []time.Duration{0, 10 * time.Second, 15 * time.Second, 5 * time.Second}, 20 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, peer := net.Pipe()
			defer peer.Close()
			cfg := connConfig(testMTU)
			cfg.Timeout = tt.timeout
			c := newConn(near, cfg, &charmCodec{testState()}, &charmCodec{testState()})
			defer c.Close(errStopped)
			go io.Copy(io.Discard, peer)
			go func() {
				frames := sealed(make([][]byte, len(tt.intervals))...)
				for _, interval := range tt.intervals {
					time.Sleep(interval)
					peer.Write(frames[:headerSize])
					frames = frames[headerSize:]
				}
			}()
			for range tt.intervals {
				if _, err := c.Receive(); err != nil {
					t.Fatalf("%s: %v", tt.name, err)
				}
			}
			start := time.Now()
			_, err := c.Receive()
			if !errors.Is(err, errPeerSilent) || time.Since(start) != tt.want {
				t.Errorf("%s: %v after %v, want %v", tt.name, err, time.Since(start), tt.want)
			}
		})
	}
}

// A peer that takes little is slow, and one that takes nothing is dead. Neither
// makes anybody wait: what it does not take soon is dropped, but for what is
// half sent.
func TestPeerTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(t)
		late := c.times.late
		slow, dropped := ipv4(40, 1), ipv4(40, 2)
		taken := make(chan bool)
		go func() {
			for range headerSize + 40 {
				time.Sleep(DefaultTimeout - time.Second)
				peer.Read(make([]byte, 1))
			}
			close(taken)
		}()
		start := time.Now()
		if err := c.Send([][]byte{slow}); err != nil || time.Since(start) != late {
			t.Errorf("slow peer: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		for range 100 {
			if err := c.Send([][]byte{dropped, dropped}); err != nil {
				t.Errorf("slow peer: %v", err)
			}
		}
		if waited := time.Since(start); waited != 100*probeTimeout {
			t.Errorf("100 batches for a slow peer take %v", waited)
		}
		if got := c.Stats(); got.Late != 200 || got.SentPackets != 1 {
			t.Errorf("stats %+v", got)
		}
		<-taken // retries have sent the rest
		if err := c.Err(); err != nil {
			t.Fatalf("a slow peer is given up: %v", err)
		}

		// From here on it takes nothing at all, nor are there any packets for it.
		start = time.Now()
		if err := c.Send([][]byte{ipv4(40, 3)}); err != nil {
			t.Errorf("dead peer: %v", err)
		}
		for c.Err() == nil && time.Since(start) < time.Hour {
			time.Sleep(retryInterval)
		}
		took := time.Since(start)
		if !errors.Is(c.Err(), errPeerStuck) || took < DefaultTimeout || took > DefaultTimeout+4*retryInterval {
			t.Errorf("dead peer: %v after %v", c.Err(), took)
		}
	})
}

// After a suspension that the peer will not have waited for, the session ends
// with the next heartbeat.
func TestSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asleep atomic.Int64
		cfg := connConfig(testMTU)
		cfg.asleep = func() time.Duration { return time.Duration(asleep.Load()) }
		near, peer := net.Pipe()
		defer peer.Close()
		c := newConn(near, cfg, &charmCodec{testState()}, &charmCodec{testState()})
		defer c.Close(errStopped)
		go io.Copy(io.Discard, peer)
		for _, tt := range []struct {
			slept time.Duration
			end   bool
		}{{DefaultTimeout, false}, {DefaultTimeout + time.Second, true}} {
			asleep.Store(int64(tt.slept))
			time.Sleep(longestHeartbeat + time.Second)
			if err := c.Err(); errors.Is(err, errSuspended) != tt.end {
				t.Errorf("after a sleep of %v: %v", tt.slept, err)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	conn := &scriptConn{}
	c := testConn(t, conn)
	batch := make([][]byte, 50)
	for i := range batch {
		batch[i] = ipv4(1400, uint32(i))
	}
	conn.written.Grow(1 << 20)
	allocs := testing.AllocsPerRun(100, func() {
		conn.written.Reset()
		if err := c.Send(batch); err != nil {
			t.Fatal(err)
		}
		conn.input = conn.written.Bytes()
		if got, err := c.Receive(); len(got) != len(batch) || err != nil {
			t.Fatalf("Receive = %d packets, %v", len(got), err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a batch, want none", allocs)
	}
}

// What both ends of a session do to a batch of packets, without TCP.
func BenchmarkConn(b *testing.B) {
	for _, size := range []int{64, 1400, 8948} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			conn := &scriptConn{}
			c := testConn(b, conn)
			batch := [][]byte{ipv4(size, 1), ipv4(size, 2), ipv4(size, 3), ipv4(size, 4)}
			b.SetBytes(int64(size * len(batch)))
			b.ReportAllocs()
			for b.Loop() {
				conn.written.Reset()
				c.Send(batch)
				conn.input = conn.written.Bytes()
				if got, err := c.Receive(); len(got) != len(batch) || err != nil {
					b.Fatalf("Receive = %d packets, %v", len(got), err)
				}
			}
		})
	}
}
