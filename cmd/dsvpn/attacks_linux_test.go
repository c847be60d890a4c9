package main

import (
	"bufio"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attack is one way to bother a server. It ends when its connections are
// over, and returns how many inputs it has tried.
type attack struct {
	name string
	run  func(testing.TB, *siege) int
	key  bool // it has the key, and so may take the session over
}

// attacks is the catalogue.
var attacks = []attack{
	{name: "connections that say nothing", run: sayNothing},
	{name: "one byte a second", run: slowBytes},
	{name: "random bytes", run: noise},
	{name: "floods of random bytes", run: noiseFloods},
	{name: "hellos with one bit wrong", run: flippedBits},
	{name: "replayed hellos", run: replays},
	{name: "hellos at the limits of time", run: wrongClocks},
	{name: "connections that are reset", run: resets},

	{name: "with the key: garbage", run: garbage, key: true},
	{name: "with the key: half a frame, and deaf", run: halfFrame, key: true},
	{name: "with the key: malformed packets", run: malformed, key: true},
	{name: "with the key: forged sources", run: forgedSources, key: true},
	{name: "with the key: floods of odd frames", run: oddFrames, key: true},
	{name: "with the key: floods of packets", run: packetFlood, key: true},
}

// few is a number of inputs, or less where time is short.
func few(n int) int {
	if testing.Short() || raceDetector() {
		return max(n/20, 1)
	}
	return n
}

// noiseOf is n random bytes.
func noiseOf(n int) []byte {
	b := make([]byte, n)
	crand.Read(b)
	return b
}

// sayNothing holds as many connections at the same time as this process may have
// descriptors.
func sayNothing(t testing.TB, s *siege) int {
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	n, room := few(10_000), int(min(limit.Cur, 1<<20))*3/4
	for left := n; left > 0; left -= room {
		held := make([]*rawPeer, min(left, room))
		check(t, s.crowd(len(held), func(i int, p *rawPeer) error {
			held[i] = p
			return nil
		}))
		time.Sleep(2 * time.Second) // this is the attack
		check(t, crowd(len(held), func(i int) error { return held[i].unheard() }))
	}
	return n
}

// slowBytes are hellos that would take 72 s. The server does not wait for
// them.
func slowBytes(t testing.TB, s *siege) int {
	slow := make([]*rawPeer, few(300))
	check(t, s.crowd(len(slow), func(i int, p *rawPeer) error {
		slow[i] = p
		return nil
	}))
	for range 12 {
		for _, p := range slow {
			p.Write([]byte{0}) // the server may have closed it
		}
		time.Sleep(time.Second)
	}
	for _, p := range slow {
		p.SetReadDeadline(time.Now().Add(patience))
		n, err := io.Copy(io.Discard, p.TCPConn) // out of order too: it went on after the end
		if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("the server answers a stranger with %d bytes, or waits for ever: %v", n, err)
		}
		p.Close()
	}
	return len(slow)
}

// noise is random bytes of all lengths that may matter, and any others.
func noise(t testing.TB, s *siege) int {
	lengths := []int{1, 2, 8, 31, 32, 33, 39, 40, 41, 64, helloSize - 1, helloSize, helloSize + 1, 2 * helloSize, 1024, 1448}
	n := few(2000)
	check(t, s.crowd(n, func(i int, p *rawPeer) error {
		size := 1 + rand.N(200)
		if i < len(lengths) {
			size = lengths[i]
		}
		if _, err := p.Write(noiseOf(size)); err != nil {
			return err
		}
		return p.unheard()
	}))
	return n
}

// noiseFloods send as much as the server takes within a second.
func noiseFloods(t testing.TB, s *siege) int {
	n := few(64)
	check(t, s.crowd(n, func(_ int, p *rawPeer) error {
		p.SetDeadline(time.Now().Add(time.Second))
		heard := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, p.TCPConn)
			heard <- n
		}()
		io.CopyN(p.TCPConn, data(1), 1<<30)
		if n := <-heard; n > 0 {
			return fmt.Errorf("the server answers a stranger with %d bytes", n)
		}
		return p.reset()
	}))
	return n
}

// flippedBits tries each bit of a hello, in the random part, the time and the
// mac.
func flippedBits(t testing.TB, s *siege) int {
	const bits = 8 * helloSize
	check(t, s.crowd(bits, func(i int, p *rawPeer) error {
		hello, _ := s.key.hello(unixNow())
		hello[i/8] ^= 1 << (i % 8)
		if _, err := p.Write(hello); err != nil {
			return err
		}
		return p.unheard()
	}))
	return bits
}

// replays are of a hello that the server has answered, some with more behind
// it.
func replays(t testing.TB, s *siege) int {
	hello := s.usedHello(t)
	n := few(2000)
	check(t, s.crowd(n, func(i int, p *rawPeer) error {
		if _, err := p.Write(append(slices.Clone(hello), noiseOf(i%100)...)); err != nil {
			return err
		}
		return p.unheard()
	}))
	return n
}

// usedHello returns a hello of a client who has been answered, and is gone.
func (s *siege) usedHello(t testing.TB) []byte {
	t.Helper()
	p, err := s.dial(0)
	check(t, err)
	defer p.Close()
	hello, _ := s.key.hello(unixNow())
	_, err = p.Write(hello)
	check(t, err)
	_, err = io.ReadFull(p, make([]byte, answerSize))
	check(t, err)
	return hello
}

// wrongClocks are hellos made with the key, whose time is just within, just
// beyond and far beyond what a server takes.
func wrongClocks(t testing.TB, s *siege) int {
	const maxSkew = 2 * 60 * 60 // seconds
	refused := func(clock uint64) error {
		p, err := s.dial(0)
		check(t, err)
		hello, _ := s.key.hello(clock)
		if _, err := p.Write(hello); err != nil {
			return err
		}
		return p.unheard()
	}
	taken := func(clock uint64) error {
		p, err := s.dial(0)
		check(t, err)
		defer p.Close()
		return p.handshake(&s.key, clock)
	}
	// The server's clock may move on before it looks: then it does not count.
	ahead := func(seconds int64, try func(clock uint64) error) {
		for {
			clock := unixNow()
			err := try(clock + uint64(seconds))
			if err == nil {
				return
			} else if clock == unixNow() {
				t.Fatalf("a clock %d s ahead: %v", seconds, err)
			}
		}
	}
	for _, seconds := range []int64{maxSkew - 1, 0, 1 - maxSkew} {
		ahead(seconds, taken)
	}
	beyond := int64(few(100))
	for i := range beyond {
		ahead(maxSkew+1+i, refused)
		ahead(-maxSkew-1-i, refused)
	}
	limits := []uint64{0, 1, maxSkew, math.MaxUint32, math.MaxInt64 - 1, math.MaxInt64, 1 << 63, 1<<63 + 1, math.MaxUint64 - maxSkew, math.MaxUint64}
	for _, clock := range limits {
		if err := refused(clock); err != nil {
			t.Fatalf("a clock that shows %d: %v", clock, err)
		}
	}
	return 3 + 2*int(beyond) + len(limits)
}

// resets open connections and drop them, before, within and behind a hello.
func resets(t testing.TB, s *siege) int {
	n := few(10_000)
	lengths := []int{0, 1, helloSize, 4 * helloSize}
	check(t, s.crowd(n, func(i int, p *rawPeer) error {
		p.Write(noiseOf(lengths[i%len(lengths)]))
		return p.reset()
	}))
	return n
}

// An intruder is somebody with the key: by design it may take the session
// over, and the client takes it back.
func (s *siege) intruder(t testing.TB, i int) *rawPeer {
	t.Helper()
	p, err := s.dial(i)
	check(t, err)
	t.Cleanup(func() { p.Close() })
	check(t, p.SetDeadline(time.Now().Add(patience)))
	check(t, p.handshake(&s.key, unixNow()))
	return p
}

// intrude sends n frames with what packet makes. It takes the session over
// again whenever it has lost it, and returns when the server has taken all
// that was sent last.
func (s *siege) intrude(t testing.TB, n int, packet func(i int) []byte) int {
	t.Helper()
	for i := 0; i < n; {
		p := s.intruder(t, i)
		over := make(chan struct{})
		go func() {
			io.Copy(io.Discard, p.TCPConn)
			close(over)
		}()
		w := bufio.NewWriterSize(p, 1<<16)
		var err error
		for ; i < n && err == nil; i++ {
			_, err = w.Write(p.frame(packet(i)))
		}
		w.Flush()
		p.CloseWrite()
		<-over
		p.Close()
	}
	return n
}

// garbage follows a handshake, and a frame that takes the session over.
func garbage(t testing.TB, s *siege) int {
	n := few(100)
	check(t, s.crowd(n, func(_ int, p *rawPeer) error {
		defer p.Close()
		if err := p.handshake(&s.key, unixNow()); err != nil {
			return err
		}
		_, err := p.Write(noiseOf(1 + rand.N(1<<10)))
		return err
	}))
	p := s.intruder(t, 0)
	p.Write(append(p.frame(nil), noiseOf(1<<17)...)) // of which the server may take a part
	io.Copy(io.Discard, p.TCPConn)                   // until it closes
	return n + 1
}

// halfFrame has the session, begins a frame of the greatest length, and reads
// nothing, while the client's traffic comes to it.
func halfFrame(t testing.TB, s *siege) int {
	p := s.intruder(t, 0)
	established := s.server.log.count("Session established")
	_, err := p.Write(append(p.frame(nil), 0xff, 0xff, 1, 2, 3))
	check(t, err)
	check(t, s.server.awaitNth(established+2, "Session established", patience)) // its own, and the client's
	return 1
}

// malformed packets are too short for what they say they are, too long for
// the tunnel, or wrong in what follows a right beginning.
func malformed(t testing.TB, s *siege) int {
	var packets [][]byte
	of := func(version byte, size int) {
		p := noiseOf(size)
		p[0] = version<<4 | p[0]&15
		packets = append(packets, p)
	}
	for size := range 20 {
		of(4, 1+size)
	}
	for size := range 40 {
		of(6, 1+size)
	}
	for version := range byte(16) {
		for _, size := range []int{1, 20, 40, 1500} {
			of(version, size)
		}
	}
	for _, size := range []int{8999, 9000, 9001, 1 << 15, maxPacket - 1, maxPacket} {
		of(4, size)
		of(6, size)
	}
	for i := range few(5000) {
		of(byte(4+i%2*2), 20+rand.N(200))
	}
	return s.intrude(t, len(packets), func(i int) []byte { return packets[i] })
}

// forgedSources come through the tunnel from addresses that are not the
// client's. None may come out at the other side of the server; what has the
// right source, and is sent last, does.
func forgedSources(t testing.TB, s *siege) int {
	const forgedPort, rightPort = 4711, 4712
	wire := newCapture(t, s.tr.internet, "wire")
	var packets [][]byte
	for _, source := range []string{
		"10.66.66.66", clientIP, internetIP, serverIP, serverUplinkIP, serverTunnelIP, "192.168.192.2", "127.0.0.1", "0.0.0.0",
		"255.255.255.255", "224.0.0.1", "198.18.0.2", "2001:db8:1::2", "2001:db8:99::1", "64:ff9b:1::1", "::1", "fe80::1", "::ffff:203.0.113.2",
	} {
		to := internetIP
		if netip.MustParseAddr(source).Is6() {
			to = internetIP6
		}
		packets = append(packets, udpPacket(source, to, forgedPort, []byte("forged")))
	}
	right := udpPacket(clientTunnelIP, internetIP, rightPort, []byte("right"))
	tries := 0
	eventually(t, "the right packet of an intruder arrives", func() bool {
		tries++
		s.intrude(t, len(packets)+1, func(i int) []byte {
			if i < len(packets) {
				return packets[i]
			}
			return right
		})
		return wire.saw(func(p packet) bool { return p.toPort == rightPort })
	})
	if wire.saw(func(p packet) bool { return p.toPort == forgedPort }) {
		t.Error("a packet with a forged source comes out of the server")
	}
	return tries * len(packets)
}

// saw reports whether a packet of this kind has come.
func (c *capture) saw(kind func(packet) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.packets, kind)
}

// oddFrames are what the device never gets: nothing, of version 0, and longer
// than the tunnel is wide.
func oddFrames(t testing.TB, s *siege) int {
	largest := make([]byte, maxPacket)
	largest[0] = 4 << 4
	return s.intrude(t, few(60_000), func(i int) []byte {
		switch {
		case i%200 == 0:
			return largest
		case i%2 == 0:
			return nil
		}
		return make([]byte, i%64)
	})
}

// packetFlood is of packets that are right in everything, to all addresses
// that the server has or leads to.
func packetFlood(t testing.TB, s *siege) int {
	var packets [][]byte
	for _, to := range []string{serverUplinkIP, serverTunnelIP, serverIP, internetIP, clientTunnelIP, clientIP} {
		packets = append(packets, udpPacket(clientTunnelIP, to, 4713, binary.LittleEndian.AppendUint64(make([]byte, 1300), 0)))
	}
	return s.intrude(t, few(60_000), func(i int) []byte { return packets[i%len(packets)] })
}
