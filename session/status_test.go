package session

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReport(t *testing.T) {
	peer := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}
	for _, tt := range []struct {
		name         string
		report       Report
		alive, ready bool
		text         string
	}{
		{"no session", Report{}, true, false, "no session"},
		{"new", Report{Remote: peer}, true, true, "session with 192.0.2.1:443 for 0s, last heard of 0s ago"},
		{"idle C peer", Report{Remote: peer, Age: time.Hour, Silent: time.Hour}, true, true,
			"session with 192.0.2.1:443 for 1h0m0s, last heard of 1h0m0s ago"},
		{"late heartbeat", Report{Remote: peer, Beats: true, Silent: silence}, true, true, "last heard of 30s ago"},
		{"no heartbeat", Report{Remote: peer, Beats: true, Silent: silence + 1}, true, false, "nothing has come from 192.0.2.1:443 for 30s"},
		{"slow write", Report{Remote: peer, Stuck: stuckAfter}, true, true, "session"},
		{"stuck write", Report{Remote: peer, Stuck: stuckAfter + 1}, false, false, "stuck in a write for 1m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.report.Alive(); (err == nil) != tt.alive {
				t.Errorf("Alive: %v", err)
			}
			if err := tt.report.Ready(); (err == nil) != tt.ready {
				t.Errorf("Ready: %v", err)
			}
			if got := tt.report.String(); !strings.Contains(got, tt.text) {
				t.Errorf("String is %q, want %q in it", got, tt.text)
			}
		})
	}
}

// The status follows a session from its start to its end, and sees a peer
// that hangs while TCP is well.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := piped(t)
		go io.Copy(io.Discard, peer) // our heartbeats
		s := NewStatus()
		want := func(what string, silent time.Duration, ready bool) {
			t.Helper()
			synctest.Wait()
			r := s.Report()
			if r.Silent != silent || (r.Ready() == nil) != ready {
				t.Errorf("%s: %+v, ready: %v", what, r, r.Ready())
			}
		}
		want("before", 0, false)
		s.session.Store(c)
		time.Sleep(time.Minute)
		want("peer without heartbeats", time.Minute, true)

		go c.Receive()
		frames := sealed(nil)
		if _, err := peer.Write(frames); err != nil {
			t.Fatal(err)
		}
		want("heartbeat", 0, true)
		time.Sleep(silence + time.Second)
		want("heartbeats stay out", silence+time.Second, false)

		c.Close(errStopped)
		s.session.CompareAndSwap(c, nil)
		want("after", 0, false)
	})
}

// A write that makes no progress is seen from outside while it goes on.
func TestStatusSeesStuckWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(t) // nobody reads
		s := NewStatus()
		s.session.Store(c)
		sent := make(chan error)
		go func() { sent <- c.Send([][]byte{ipv4(20, 1)}) }()
		time.Sleep(4 * time.Second)
		if r := s.Report(); r.Stuck.Round(time.Second) != 4*time.Second || r.Ready() != nil {
			t.Errorf("stuck for %v, want 4s; ready: %v", r.Stuck, r.Ready())
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		time.Sleep(10*time.Second + probeTimeout)
		if r := s.Report(); r.Stuck != 0 || r.Late.Round(time.Second) != 15*time.Second || r.Ready() == nil || r.Alive() != nil {
			t.Errorf("after the write: %+v, ready: %v, alive: %v", r, r.Ready(), r.Alive())
		}
		c.delivering.Store(c.clock())
		time.Sleep(stuckAfter + time.Second)
		if err := s.Report().Alive(); err == nil {
			t.Error("alive, with a write to the device that does not end")
		}
	})
}

// Both ends of a tunnel know when it is up and when it no longer is.
func TestStatusOfTunnel(t *testing.T) {
	serverCfg, _, serverLog := testConfig(t)
	clientCfg, _, clientLog := testConfig(t)
	addr, stopServer := loopback(t, serverCfg, 0)
	defer stopServer()
	stopClient := run(t, NewClient(clientCfg, addr.Addr().String(), addr.Port(), 0).Run)
	defer stopClient()
	for _, s := range []*Status{serverCfg.Status, clientCfg.Status} {
		select {
		case <-s.Up():
		case <-time.After(patience):
			t.Fatal("not up")
		}
		if r := s.Report(); r.Ready() != nil || r.Alive() != nil {
			t.Errorf("up, and the report is %v", r)
		}
	}
	stopServer()
	serverLog.wait(t, "Client disconnected")
	clientLog.wait(t, "session ended")
	for _, s := range []*Status{serverCfg.Status, clientCfg.Status} {
		if r := s.Report(); r.Ready() != errNoSession || r.Alive() != nil {
			t.Errorf("down, and the report is %v", r)
		}
	}
}
