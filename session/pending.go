package session

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxPending is how many connections may be without a handshake, and
	// maxPendingPrefix how many of those may come from one network. Each
	// takes a descriptor and about 5 KB. On Linux a connection does not
	// even count before it has sent something.
	maxPending       = 128
	maxPendingPrefix = 16

	// sinkPause is waited between two reads from a connection that was
	// refused: it may send 100 KB/s, which costs next to nothing.
	sinkPause = 5 * time.Millisecond
)

// pending are the connections of which nobody knows yet who they are. They are
// few: a newcomer pushes out the oldest, so that nobody can keep others out
// by holding connections. A client needs no time to speak of for its hello.
type pending struct {
	mu       sync.Mutex
	stopped  bool
	prefixes map[netip.Prefix][]net.Conn // oldest first
	total    int
}

func newPending() *pending { return &pending{prefixes: make(map[netip.Prefix][]net.Conn)} }

// enter takes note of a connection, and makes room for it: it returns one that
// it has closed, if that was necessary. It closes all that come after stop.
func (p *pending) enter(conn net.Conn) (evicted net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		conn.Close()
		return nil
	}
	prefix := prefixOf(conn.RemoteAddr())
	if len(p.prefixes[prefix]) >= maxPendingPrefix {
		evicted = p.evict(prefix)
	} else if p.total >= maxPending {
		evicted = p.evict(p.fullest())
	}
	p.prefixes[prefix] = append(p.prefixes[prefix], conn)
	p.total++
	return evicted
}

// leave forgets a connection that is over, or of which all is known.
func (p *pending) leave(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(prefixOf(conn.RemoteAddr()), conn)
}

// shed closes the oldest connection of the network that has most of them, to
// free a descriptor. It returns nil if there is none.
func (p *pending) shed() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total == 0 {
		return nil
	}
	return p.evict(p.fullest())
}

// stop closes all connections, and lets no more in.
func (p *pending) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	for _, conns := range p.prefixes {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// fullest is the network that most connections come from.
func (p *pending) fullest() (most netip.Prefix) {
	for prefix, conns := range p.prefixes {
		if len(conns) > len(p.prefixes[most]) {
			most = prefix
		}
	}
	return most
}

func (p *pending) evict(prefix netip.Prefix) net.Conn {
	oldest := p.prefixes[prefix][0]
	oldest.Close()
	p.remove(prefix, oldest)
	return oldest
}

func (p *pending) remove(prefix netip.Prefix, conn net.Conn) {
	conns := p.prefixes[prefix]
	i := slices.Index(conns, conn)
	if i < 0 {
		return // was pushed out
	}
	p.total--
	if len(conns) == 1 {
		delete(p.prefixes, prefix)
		return
	}
	p.prefixes[prefix] = slices.Delete(conns, i, i+1)
}

// prefixOf is the network of a peer: what one party usually has at most, an
// IPv4 /24 or an IPv6 /48.
func prefixOf(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	addr, bits := tcp.AddrPort().Addr().Unmap().WithZone(""), 48
	if addr.Is4() {
		bits = 24
	}
	prefix, _ := addr.Prefix(bits)
	return prefix
}

// sink reads what a refused peer still sends, until it closes the connection
// or its time is up. So it learns nothing from when, or how, it is closed: it
// sees a service that listens and says nothing.
func sink(conn net.Conn) {
	var buf [512]byte
	for {
		if _, err := conn.Read(buf[:]); err != nil {
			return
		}
		time.Sleep(sinkPause)
	}
}
