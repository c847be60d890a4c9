package session

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dsvpn/tun/tuntest"
)

// A relayBench is a client and a server, the relay between them, and packets
// that go both ways.
//
//	up.from -> client -> relay -> server -> up.to
//	down.to <-        <-       <-        <- down.from
type relayBench struct {
	relay                *relay
	up, down             *flow
	clientLog, serverLog *journal
	client, server       *Status
	stop                 func() // all of it
}

// newRelayBench starts all, with what cfg has of a configuration. The client
// does not pause between two connections.
func newRelayBench(t *testing.T, plan faultPlan, cfg Config) *relayBench {
	t.Helper()
	clientDevice, serverDevice := tuntest.New(testMTU), tuntest.New(testMTU)
	b := &relayBench{
		client:    NewStatus(),
		server:    NewStatus(),
		up:        newFlow(plan.seed, "up", clientDevice, serverDevice),
		down:      newFlow(plan.seed, "down", serverDevice, clientDevice),
		clientLog: &journal{news: make(chan struct{}, 1)},
		serverLog: &journal{news: make(chan struct{}, 1)},
	}
	cfg.Key, cfg.MTU = testKey, testMTU
	serverCfg, clientCfg := cfg, cfg
	serverCfg.Device, serverCfg.Status, serverCfg.Logger = serverDevice, b.server, slog.New(listener{journal: b.serverLog})
	clientCfg.Device, clientCfg.Status, clientCfg.Logger = clientDevice, b.client, slog.New(listener{journal: b.clientLog})

	server, stopServer := loopback(t, serverCfg, 0)
	b.relay = newRelay(t, server, plan)
	client := NewClient(clientCfg, "127.0.0.1", b.relay.port(), 0)
	b.clientLog.on(func(event) { client.NetworkChanged() }) // no pause
	b.serverLog.on(func(e event) {
		if e.message == "handshake failed" {
			b.relay.drop(e.remote) // as the server does, in its own time
		}
	})
	stopClient := run(t, client.Run)

	ctx, cancel := context.WithCancel(context.Background())
	var receivers sync.WaitGroup
	for _, f := range []*flow{b.up, b.down} {
		receivers.Go(func() { f.receive(ctx) })
	}
	b.stop = sync.OnceFunc(func() {
		t.Helper()
		stopClient()
		stopServer()
		b.relay.close()
		cancel()
		receivers.Wait()
		clientDevice.Close()
		serverDevice.Close()
	})
	return b
}

// awaitUp waits for the first session.
func (b *relayBench) awaitUp(ctx context.Context, t *testing.T) {
	t.Helper()
	await(ctx, t, b.client.Up(), "a session of the client")
	await(ctx, t, b.server.Up(), "a session of the server")
}

// awaitBeats waits until both sides know how often the other sends heartbeats.
// They learn it when they have nothing to say.
func (b *relayBench) awaitBeats(ctx context.Context, t *testing.T) {
	t.Helper()
	knows := func(s *Status) bool {
		c := s.session.Load()
		return c != nil && c.relaxed.Load()
	}
	for !knows(b.client) || !knows(b.server) {
		if ctx.Err() != nil {
			t.Fatal("waited in vain for heartbeats")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// await waits for a channel to be closed.
func await(ctx context.Context, t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-ctx.Done():
		t.Fatalf("waited in vain for %s", what)
	}
}

// flow has packets flow both ways while f runs, and then until they come
// through. At the end nothing is on its way.
func (b *relayBench) flow(ctx context.Context, t *testing.T, f func()) {
	t.Helper()
	flowing, still := context.WithCancel(ctx)
	var senders sync.WaitGroup
	defer senders.Wait()
	defer still()
	flows := []*flow{b.up, b.down}
	for _, f := range flows {
		senders.Go(func() { f.send(flowing) })
	}
	f()
	// The packet that comes first may be the last of an old session. The other
	// way had its first in the new one by then, and so has the second round.
	for range 2 {
		for _, f := range flows {
			f.reach(ctx, t, f.next())
		}
	}
	still()
	senders.Wait()
	for _, f := range flows {
		f.reach(ctx, t, f.next()-1)
	}
}

// isOutcome reports whether a message is about the end of a connection.
func isOutcome(message string) bool {
	switch message {
	case "connection failed", "session ended", // the client's
		"handshake failed", "newcomer dropped", "Client disconnected", "too many connections":
		return true
	}
	return false
}

// An event is what one side says about a connection.
type event struct {
	remote, message string
	err             error
}

// A journal keeps how connections end, and reacts to it.
type journal struct {
	mu    sync.Mutex
	ends  []event
	news  chan struct{} // one more
	react func(event)
}

func (j *journal) on(react func(event)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.react = react
}

func (j *journal) record(e event) {
	j.mu.Lock()
	j.ends = append(j.ends, e)
	react := j.react
	j.mu.Unlock()
	select {
	case j.news <- struct{}{}:
	default:
	}
	if react != nil {
		react(e)
	}
}

// take returns the ends since the last call.
func (j *journal) take() []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	ends := j.ends
	j.ends = nil
	return ends
}

// wait waits for one end, which it takes.
func (j *journal) wait(ctx context.Context, t *testing.T) event {
	t.Helper()
	for {
		j.mu.Lock()
		if len(j.ends) > 0 {
			e := j.ends[0]
			j.ends = j.ends[1:]
			j.mu.Unlock()
			return e
		}
		j.mu.Unlock()
		select {
		case <-j.news:
		case <-ctx.Done():
			t.Fatal("no connection ends")
		}
	}
}

// A listener hears what is logged about one remote address.
type listener struct {
	journal *journal
	remote  string
}

func (l listener) Enabled(context.Context, slog.Level) bool { return true }
func (l listener) WithGroup(string) slog.Handler            { return l }

func (l listener) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		l.note(a)
	}
	return l
}

func (l listener) Handle(_ context.Context, r slog.Record) error {
	if isOutcome(r.Message) {
		r.Attrs(l.note)
		l.journal.record(event{l.remote, r.Message, cause(r)})
	}
	return nil
}

// note takes the remote address from an attribute.
func (l *listener) note(a slog.Attr) bool {
	if a.Key == "remote" {
		l.remote = a.Value.String()
	}
	return true
}

// nothingLeft returns a function that reports goroutines and descriptors that
// are there then and are not now.
func nothingLeft(t *testing.T) func() {
	t.Helper()
	// The first socket of a program has the runtime open some for itself.
	newRelay(t, netip.AddrPort{}, faultPlan{}).close()
	before, goroutines := descriptors(t), goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		goleak.VerifyNone(t, goroutines)
		if after := descriptors(t); len(after) > len(before) {
			t.Errorf("descriptors %v are left of %v", after, before)
		}
	}
}

// descriptors lists what this process has open, where the system tells.
func descriptors(t *testing.T) (open []string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // not that of dir itself
			open = append(open, e.Name()+" "+target)
		}
	}
	return open
}
