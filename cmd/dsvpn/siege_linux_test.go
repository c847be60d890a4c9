package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// siege is a trial with hosts of attackers more. Each is in a network of its
// own, on a cable to the server: 198.18.I.2, with the server at 198.18.I.1.
type siege struct {
	tr     *trial
	bots   []*netlab.Host
	key    peerKey
	server *process
}

// botNets is the number of networks that an attack comes from.
const botNets = 10

// newSiege starts a server, and serves what a load takes.
func newSiege(t testing.TB) *siege {
	t.Helper()
	tr := newTestTrial(t)
	s := &siege{tr: tr, key: readKey(t, tr.key())}
	for i := range botNets {
		bot := netlabtest.Host(t, tr.lab, fmt.Sprintf("bot%d", i))
		gateway := netip.MustParseAddr(botGateway(i))
		check(t, tr.lab.Cable(
			netlab.End{Host: bot, Interface: "uplink", Addrs: []netip.Prefix{netip.PrefixFrom(gateway.Next(), 24)}},
			netlab.End{Host: tr.server, Interface: bot.Name(), Addrs: []netip.Prefix{netip.PrefixFrom(gateway, 24)}}))
		s.bots = append(s.bots, bot)
	}
	wantHostsUnchanged(t, tr)
	s.server = startServer(t, tr)
	check(t, s.server.await("confined", patience)) // the start is over, and its files are closed
	serveEcho(t, tr.internet, "")
	check(t, tr.serve(tr.internet, net.JoinHostPort("", portReturn), func(c net.Conn) error {
		_, err := io.Copy(c, c)
		return err
	}))
	return s
}

// dial connects to the server from the network with this number.
func (s *siege) dial(i int) (*rawPeer, error) {
	i %= len(s.bots)
	return dialPeer(s.bots[i], botGateway(i))
}

// botGateway is the server's address in the network with this number.
func botGateway(i int) string { return fmt.Sprintf("198.18.%d.1", i) }

// crowd attacks n times, many at the same time, and returns the first error.
// Each attack has a connection from another network than the one before.
func (s *siege) crowd(n int, attack func(i int, p *rawPeer) error) error {
	return crowd(n, func(i int) error {
		p, err := s.dial(i)
		if err != nil {
			return err
		}
		if err := attack(i, p); err != nil {
			p.Close()
			return err
		}
		return nil
	})
}

// crowd calls f n times, many at the same time, and returns the first error.
func crowd(n int, f func(i int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Pointer[error]
		all    sync.WaitGroup
	)
	for range 32 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					err = fmt.Errorf("%d of %d: %w", i, n, err)
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// descriptors counts the open files of a process, without one that it looks
// into for a moment.
func (p *process) descriptors(t testing.TB) int {
	t.Helper()
	least := p.countProc(t, "fd")
	for range 4 {
		time.Sleep(5 * time.Millisecond)
		least = min(least, p.countProc(t, "fd"))
	}
	return least
}

func (p *process) threads(t testing.TB) int { return p.countProc(t, "task") }

func (p *process) countProc(t testing.TB, dir string) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, dir))
	check(t, err)
	return len(all)
}

// load is what a client does meanwhile: a transfer that comes back from the
// internet host, and pings.
type load struct {
	stop  chan struct{}
	moved chan error // the result of the transfer
	pings net.Conn
	done  chan struct{} // no more pings

	answers atomic.Int64 // to pings

	// Valid at the end.
	bytes int64 // sent, and come back
	took  time.Duration
	rtts  []time.Duration // of pings, shortest first
	gap   time.Duration   // the longest time without an answer
}

const (
	portReturn = "7105" // sends back what comes

	// loadChunk bytes every loadPause are 67 Mb/s each way: the tunnel is
	// busy, and the machine has time left to attack it.
	loadChunk, loadPause = 64 << 10, 8 * time.Millisecond
	pingPause            = 2 * time.Millisecond
)

func startLoad(t testing.TB, from *netlab.Host) *load {
	t.Helper()
	l := &load{stop: make(chan struct{}), moved: make(chan error, 1), done: make(chan struct{})}
	l.pings = mustDial(t, from, "udp", internetIP, portEcho)
	c := mustDial(t, from, "tcp", internetIP, portReturn).(*net.TCPConn)
	begin := time.Now()
	go func() {
		defer c.Close()
		err := l.transfer(c)
		l.took = time.Since(begin)
		l.moved <- err
	}()
	go l.ping()
	go l.takePings()
	return l
}

// transfer sends until it is told to stop, and compares what comes back.
func (l *load) transfer(c *net.TCPConn) error {
	const seed = 7
	sent := make(chan error, 1)
	go func() { sent <- l.send(c, data(seed)) }()
	buf, want, source := make([]byte, loadChunk), make([]byte, loadChunk), data(seed)
	var back int64
	for {
		n, err := c.Read(buf)
		io.ReadFull(source, want[:n])
		if !bytes.Equal(buf[:n], want[:n]) {
			return fmt.Errorf("after %d bytes, what comes back is not what was sent", back)
		}
		back += int64(n)
		if err == io.EOF {
			break
		} else if err != nil {
			return fmt.Errorf("after %d bytes: %w", back, err)
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	if back != l.bytes {
		return fmt.Errorf("%d of %d bytes come back", back, l.bytes)
	}
	return nil
}

func (l *load) send(c *net.TCPConn, source io.Reader) error {
	tick := time.NewTicker(loadPause)
	defer tick.Stop()
	for {
		n, err := io.CopyN(c, source, loadChunk)
		l.bytes += n
		if err != nil {
			return fmt.Errorf("after %d bytes sent: %w", l.bytes, err)
		}
		select {
		case <-l.stop:
			return c.CloseWrite()
		case <-tick.C:
		}
	}
}

// ping sends the time of sending, counted from pingZero.
func (l *load) ping() {
	tick := time.NewTicker(pingPause)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			_, err := l.pings.Write(binary.LittleEndian.AppendUint64(nil, uint64(time.Since(pingZero))))
			if errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}
}

var pingZero = time.Now()

func (l *load) takePings() {
	defer close(l.done)
	last := time.Since(pingZero)
	for b := make([]byte, 8); ; {
		n, err := l.pings.Read(b)
		if n == len(b) {
			now := time.Since(pingZero)
			l.rtts = append(l.rtts, now-time.Duration(binary.LittleEndian.Uint64(b)))
			l.gap, last = max(l.gap, now-last), now
			l.answers.Add(1)
		} else if errors.Is(err, net.ErrClosed) {
			return // any other error is a packet that was refused on its way
		}
	}
}

// flows waits until pings are answered.
func (l *load) flows(t testing.TB) {
	t.Helper()
	n := l.answers.Load()
	eventually(t, "a ping is answered", func() bool { return l.answers.Load() > n })
}

// end stops the load. All that was sent must have come back.
func (l *load) end(t testing.TB) {
	t.Helper()
	close(l.stop)
	wantDone(t, l.moved)
	l.pings.Close()
	<-l.done
	slices.Sort(l.rtts)
}

// rate is what went each way, in Mb/s.
func (l *load) rate() float64 { return float64(l.bytes) * 8 / 1e6 / l.took.Seconds() }

// percentile is the round trip that this part of all pings did not exceed.
func (l *load) percentile(p float64) time.Duration {
	if len(l.rtts) == 0 {
		return 0
	}
	return l.rtts[int(p*float64(len(l.rtts)-1))]
}
