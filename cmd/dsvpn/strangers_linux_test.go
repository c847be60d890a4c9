package main

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
)

// Whatever a stranger sends, it gets no byte, and a close in order ten seconds
// after the first byte: so it cannot tell how far a guess went. Who says
// nothing is kept by the kernel for a while first.
func TestStrangersLookAlike(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the server bears silence, twice")
	}
	s := newSiege(t)
	client := startClient(t, s.tr)
	s.wantSession(t, client)
	wrongMAC, _ := s.key.hello(unixNow())
	wrongMAC[helloSize-1] ^= 1
	tooOld, _ := s.key.hello(unixNow() - 3*60*60)
	tooNew, _ := s.key.hello(unixNow() + 3*60*60)
	replayed := s.usedHello(t)

	var all sync.WaitGroup
	for i, tt := range []struct {
		name string
		sent []byte
	}{
		{"nothing", nil},
		{"1 byte", noiseOf(1)},
		{"71 bytes", noiseOf(helloSize - 1)},
		{"72 bytes", noiseOf(helloSize)},
		{"73 bytes", noiseOf(helloSize + 1)},
		{"64 KiB", noiseOf(64 << 10)},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")},
		{"half a hello", replayed[:helloSize/2]},
		{"wrong mac", wrongMAC},
		{"wrong mac, and more", append(wrongMAC, noiseOf(100)...)},
		{"too old", tooOld},
		{"too new", tooNew},
		{"replayed", replayed},
		{"replayed, and more", append(replayed, noiseOf(100)...)},
	} {
		all.Go(func() {
			p, err := s.dial(i)
			begin := time.Now()
			if err == nil {
				go p.Write(tt.sent) // of which the server may take a part
				err = p.noAnswer()
			}
			age := time.Since(begin)
			if err != nil {
				t.Errorf("%s: after %v: %v", tt.name, age, err)
			}
			if least, most := 9*time.Second, 15*time.Second; age < least || age > most && tt.sent != nil {
				t.Errorf("%s: the server closes after %v", tt.name, age)
			}
			t.Logf("%s: %.3f s", tt.name, age.Seconds())
		})
	}
	all.Wait()
	wantOneSession(t, s.server, client)
}

// A client gets through a crowd of strangers, also when they come from its
// own network, and when they have all descriptors that the server may use.
func TestCrowdedOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		descriptors int    // that the server has left; 0: as many as it likes
		says        string // when they run out
	}{
		{"places", 0, "made room for newer connections"},
		{"descriptors", 20, "accept failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSiege(t)
			client := startClient(t, s.tr)
			s.wantSession(t, client)
			before := s.weigh(t)
			if tt.descriptors > 0 {
				check(t, limitDescriptors(s.server, before.descriptors+tt.descriptors))
			}
			l := startLoad(t, s.tr.client)
			lift := s.press(t)
			check(t, s.server.await(tt.says, patience))
			l.flows(t)
			l.end(t)
			wantOneSession(t, s.server, client)

			check(t, client.stop(syscall.SIGTERM))
			client = startClient(t, s.tr)
			s.wantSession(t, client)
			l = startLoad(t, s.tr.client)
			l.flows(t)
			l.end(t)
			lift()
			eventually(t, "the server has as many descriptors as before", func() bool {
				return s.server.descriptors(t) <= before.descriptors
			})
			after := s.weigh(t)
			if more := after.lines - before.lines; more > logSlack {
				t.Errorf("the log is %d lines longer", more)
			}
			if n := s.server.log.count("accept failed"); n > 2 { // once a minute
				t.Errorf("the server says %d times that accept failed", n)
			}
			t.Logf("the new client failed %d times before it was connected", client.log.count("connection failed"))
		})
	}
}

// limitDescriptors sets how many files a process may have open.
func limitDescriptors(p *process, n int) error {
	return unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: uint64(n)}, nil)
}

// press has strangers connect from everywhere, also from the client's host,
// say a little and stay, without end. It returns what sends them away.
func (s *siege) press(t testing.TB) (lift func()) {
	t.Helper()
	const stay = 40 // of each host's connections
	var all sync.WaitGroup
	var stop atomic.Bool
	from := func(h *netlab.Host, address string) {
		var held []*rawPeer
		for !stop.Load() {
			p, err := dialPeer(h, address)
			if err != nil {
				t.Error(err)
				break
			}
			p.Write([]byte{1})
			held = append(held, p)
			if len(held) > stay {
				held[0].Close()
				held = held[1:]
			}
			time.Sleep(2 * time.Millisecond)
		}
		for _, p := range held {
			p.Close()
		}
	}
	for i, bot := range s.bots {
		all.Go(func() { from(bot, botGateway(i)) })
	}
	all.Go(func() { from(s.tr.client, serverIP) })
	lift = sync.OnceFunc(func() { stop.Store(true); all.Wait() })
	t.Cleanup(lift)
	return lift
}
