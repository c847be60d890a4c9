package session

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A faultPlan is what a relay does to the connections that come to it, one
// after the other. Those that come later pass untouched.
type faultPlan struct {
	seed  uint64
	conns []connPlan
}

// connPlan is what happens to one connection.
type connPlan struct {
	up, down []leg // of the stream to the server, and of that to the client
	end      fault
}

// A leg is how a part of a stream passes. What follows the last leg passes as
// it comes.
type leg struct {
	bytes  int           // length of the part
	gather int           // bytes that are collected before any goes on, unless no more come
	chunk  int           // most bytes of one write; 0 is no limit
	pause  time.Duration // before each write
}

// A fault ends a connection.
type fault struct {
	kind faultKind
	up   bool // it happens to the stream to the server
	at   int  // bytes of that stream that pass before
	bit  uint // of the byte that is flipped, 0 to 7
}

type faultKind string

const (
	noFault   faultKind = ""
	flipFault faultKind = "flip" // a bit of the byte at the offset; what follows passes
	rstFault  faultKind = "rst"  // both peers get a reset
	finFault  faultKind = "fin"  // both streams end, in good order
	halfFault faultKind = "half" // one stream ends, the other goes on
)

// planOf makes the plan of a seed.
func planOf(seed uint64) faultPlan {
	random := rand.New(rand.NewPCG(seed, 0))
	plan := faultPlan{seed: seed, conns: make([]connPlan, 1+random.IntN(4))}
	for i := range plan.conns {
		c := &plan.conns[i]
		c.up, c.down = legsOf(random), legsOf(random)
		// A connection without an end is the last.
		if i < len(plan.conns)-1 || random.IntN(3) > 0 {
			c.end = faultOf(random)
		}
	}
	return plan
}

// legsOf makes at most four legs, which together take less than half a second.
func legsOf(random *rand.Rand) []leg {
	upTo := func(n int) int { return 1 + random.IntN(n) }
	legs := make([]leg, random.IntN(5))
	for i := range legs {
		chunk := upTo(2000)
		legs[i] = []leg{
			{bytes: upTo(10_000)},                                                                  // untouched
			{bytes: upTo(500), chunk: 1},                                                           // split into bytes
			{bytes: 30 * chunk, chunk: chunk},                                                      // split
			{bytes: upTo(50_000), gather: upTo(30_000)},                                            // merged
			{bytes: upTo(50_000), pause: time.Duration(upTo(3000)) * time.Microsecond},             // delayed
			{bytes: 20 * chunk, chunk: chunk, pause: time.Duration(upTo(3000)) * time.Microsecond}, // throttled
			{bytes: upTo(100), chunk: 100, pause: time.Duration(upTo(100_000)) * time.Microsecond}, // stalled
		}[random.IntN(7)]
	}
	return legs
}

// faultOf makes a fault: in the handshake, in the first frames or far behind.
func faultOf(random *rand.Rand) fault {
	kinds := []faultKind{flipFault, flipFault, rstFault, finFault, halfFault}
	zones := []int{helloSize + headerSize, 600, 60_000}
	return fault{
		kind: kinds[random.IntN(len(kinds))],
		up:   random.IntN(2) == 0,
		at:   random.IntN(zones[random.IntN(len(zones))]),
		bit:  random.UintN(8),
	}
}

// A relay is a path from a client to a server that a plan makes a bad one.
type relay struct {
	listener net.Listener
	server   netip.AddrPort
	plan     faultPlan
	over     chan struct{} // closed when all of the plan has happened

	gate       sync.Mutex // held, it keeps new connections waiting
	goroutines sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	conns   []*relayed
	pending int // connections of the plan that have not had all of it
}

func newRelay(t *testing.T, server netip.AddrPort, plan faultPlan) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, server: server, plan: plan, over: make(chan struct{}), pending: len(plan.conns)}
	r.goroutines.Go(r.accept)
	return r
}

// port is where clients find the relay.
func (r *relay) port() uint16 { return uint16(r.listener.Addr().(*net.TCPAddr).Port) }

// close resets what is left, and waits until nothing is.
func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for _, c := range r.conns {
		c.reset()
	}
	r.mu.Unlock()
	r.goroutines.Wait()
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.gate.Lock()
		server, err := net.Dial("tcp", r.server.String())
		r.gate.Unlock()
		if err != nil {
			client.Close()
			continue
		}
		r.connect(client.(*net.TCPConn), server.(*net.TCPConn))
	}
}

func (r *relay) connect(client, server *net.TCPConn) {
	c := &relayed{relay: r, client: client, server: server, remote: server.LocalAddr().String()}
	c.up = stream{relayed: c, from: client, to: server}
	c.down = stream{relayed: c, from: server, to: client}

	r.mu.Lock()
	defer r.mu.Unlock()
	if i := len(r.conns); i < len(r.plan.conns) {
		c.plan = r.plan.conns[i]
		c.planned = true
	}
	c.up.legs, c.down.legs = slices.Clone(c.plan.up), slices.Clone(c.plan.down)
	if c.plan.end.up {
		c.up.end = c.plan.end
	} else {
		c.down.end = c.plan.end
	}
	r.conns = append(r.conns, c)
	if r.closed {
		c.reset()
	}
	c.streams.Go(c.up.carry)
	c.streams.Go(c.down.carry)
	r.goroutines.Go(func() {
		c.streams.Wait()
		client.Close()
		server.Close()
	})
}

// drop ends the connection of a client as a server does that closes it.
func (r *relay) drop(remote string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		if c.remote == remote {
			c.client.CloseWrite()
		}
	}
}

// newest returns the last connection, and forgets the others.
func (r *relay) newest() *relayed {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = slices.Clone(r.conns[len(r.conns)-1:])
	return r.conns[0]
}

// relayed is one connection, which are two TCP connections.
type relayed struct {
	relay          *relay
	plan           connPlan
	planned        bool
	client, server *net.TCPConn
	remote         string // what the server calls the client
	up, down       stream
	streams        sync.WaitGroup
	done           sync.Once
	ended          atomic.Bool // the fault of the plan has happened
}

// reset breaks both connections off.
func (c *relayed) reset() {
	for _, conn := range []*net.TCPConn{c.client, c.server} {
		conn.SetLinger(0)
		conn.Close()
	}
}

// checkDone takes note if the plan has nothing more for this connection.
func (c *relayed) checkDone() {
	spent := c.plan.end.kind == noFault && c.up.spent.Load() && c.down.spent.Load()
	if !c.planned || !spent && !c.ended.Load() {
		return
	}
	c.done.Do(func() {
		c.relay.mu.Lock()
		defer c.relay.mu.Unlock()
		if c.relay.pending--; c.relay.pending == 0 {
			close(c.relay.over)
		}
	})
}

// A stream is one direction of a connection.
type stream struct {
	*relayed
	from, to *net.TCPConn
	legs     []leg // what is left of them
	end      fault // none if it happens to the other stream
	passed   atomic.Int64
	spent    atomic.Bool // no leg is left
	silent   atomic.Bool // nothing passes any more, not even the end
}

// carry passes bytes on until the stream ends, one way or the other.
func (s *stream) carry() {
	buf := make([]byte, 64<<10)
	for {
		now, most := s.next(len(buf))
		if most == 0 {
			s.cut(s.end.kind)
			s.ended.Store(true)
			s.checkDone()
			io.Copy(io.Discard, s.from)
			return
		}
		n, err := s.read(buf[:most], now.gather)
		time.Sleep(now.pause)
		if s.silent.Load() {
			if err == nil {
				io.Copy(io.Discard, s.from)
			}
			return
		}
		s.flip(buf[:n])
		if _, err := s.to.Write(buf[:n]); err != nil {
			// Who reads there is gone, as the other stream will notice.
			io.Copy(io.Discard, s.from)
			return
		}
		s.advance(n)
		switch {
		case err == io.EOF:
			s.to.CloseWrite()
			return
		case err != nil:
			s.reset()
			return
		}
	}
}

// next returns the present leg, and how many bytes may pass before something
// changes, at most n. They are none if the stream is to be cut now.
func (s *stream) next(n int) (now leg, most int) {
	for len(s.legs) > 0 && s.legs[0].bytes <= 0 {
		s.legs = s.legs[1:]
	}
	if len(s.legs) > 0 {
		now = s.legs[0]
		n = min(n, now.bytes)
		if now.chunk > 0 {
			n = min(n, now.chunk)
		}
	} else if !s.spent.Swap(true) {
		s.checkDone()
	}
	if s.end.kind != noFault && s.end.kind != flipFault {
		n = min(n, s.end.at-int(s.passed.Load()))
	}
	return now, n
}

// advance takes note that n bytes have passed.
func (s *stream) advance(n int) {
	s.passed.Add(int64(n))
	if len(s.legs) > 0 {
		s.legs[0].bytes -= n
	}
}

// mergeWait is how long a stream that gathers waits for more. A message of the
// handshake comes alone.
const mergeWait = 2 * time.Millisecond

// read waits for bytes; and for more, up to gather, while they come.
func (s *stream) read(b []byte, gather int) (n int, err error) {
	n, err = s.from.Read(b)
	if gather = min(gather, len(b)); err != nil || n >= gather {
		return n, err
	}
	s.from.SetReadDeadline(time.Now().Add(mergeWait))
	defer s.from.SetReadDeadline(time.Time{})
	more, err := io.ReadAtLeast(s.from, b[n:], gather-n)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = nil
	case err == io.ErrUnexpectedEOF:
		err = io.EOF
	}
	return n + more, err
}

// flip flips the bit of the plan if its byte is among the next.
func (s *stream) flip(b []byte) {
	at := s.end.at - int(s.passed.Load())
	if s.end.kind == flipFault && at >= 0 && at < len(b) {
		b[at] ^= 1 << s.end.bit
		s.ended.Store(true)
		s.checkDone()
	}
}

// cut ends the connection from here.
func (s *stream) cut(kind faultKind) {
	switch kind {
	case rstFault:
		s.reset()
	case finFault:
		s.to.CloseWrite()
		s.from.CloseWrite()
	case halfFault:
		s.to.CloseWrite()
	}
}
