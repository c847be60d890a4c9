package session

import (
	"context"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"
)

// A day of a path that is cut again and again: nothing is left of the sessions
// that were.
func TestReconnects(t *testing.T) {
	const warm, rounds = 100, 1000
	defer nothingLeft(t)()
	b := newRelayBench(t, faultPlan{}, Config{})
	defer b.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()

	var before footprint
	for i := 1; i <= rounds; i++ {
		b.flow(ctx, t, func() {})
		b.checkRound(t)
		c := b.relay.newest()
		if i == warm {
			before = measure(t)
		}
		if i < rounds {
			s := []*stream{&c.up, &c.down}[i%2]
			s.cut([]faultKind{rstFault, finFault, halfFault}[i%3])
		}
	}
	for now := measure(t); now.exceeds(before); now = measure(t) { // the last session but one may still be ending
		if ctx.Err() != nil {
			t.Fatalf("after %d sessions %+v, after %d %+v", warm, before, rounds, now)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// checkRound checks what happened since the last time, when at most one
// session has ended.
func (b *relayBench) checkRound(t *testing.T) {
	t.Helper()
	for _, f := range []*flow{b.up, b.down} {
		if err := f.check(1, 1); err != nil {
			t.Error(err)
		}
	}
	for _, e := range slices.Concat(b.clientLog.take(), b.serverLog.take()) {
		if !slices.Contains([]string{closed, replaced}, kindOf(e.err)) {
			t.Errorf("%s: %v", e.message, e.err)
		}
	}
}

// footprint is what a process holds.
type footprint struct {
	heap                    uint64 // bytes that are in use
	goroutines, descriptors int
}

func measure(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	runtime.GC() // frees what had a finaliser
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{m.HeapAlloc, runtime.NumGoroutine(), len(descriptors(t))}
}

// exceeds reports whether f is more than another. A session has buffers of
// half a megabyte, and the server remembers about 100 bytes of each.
func (f footprint) exceeds(other footprint) bool {
	const growth = 1 << 20
	return f.heap > other.heap+growth || f.goroutines > other.goroutines || f.descriptors > other.descriptors
}

// A path that is slow is no path that is dead, however long it is slow and
// however much waits for it.
func TestSlowPath(t *testing.T) {
	const (
		timeout = 2 * time.Second
		rate    = 2000 // bytes/s
		pause   = 10 * time.Millisecond
		chunk   = int(rate * pause / time.Second)
	)
	defer nothingLeft(t)()
	slow := []leg{{bytes: 1000}, {bytes: int(3 * rate * timeout / time.Second), chunk: chunk, pause: pause}}
	b := newRelayBench(t, faultPlan{conns: []connPlan{{up: slow, down: slow}}}, Config{Timeout: timeout})
	defer b.stop()
	ctx, cancel := context.WithTimeout(t.Context(), faultPatience)
	defer cancel()
	b.awaitBeats(ctx, t)

	noEnd := func() {
		t.Helper()
		for _, e := range slices.Concat(b.clientLog.take(), b.serverLog.take()) {
			t.Fatalf("%s: %v", e.message, e.err)
		}
	}
	b.flow(ctx, t, func() {
		for {
			b.up.flood()
			b.down.flood()
			select {
			case <-b.relay.over:
				return
			case <-time.After(pause):
				noEnd()
			}
		}
	})
	noEnd()
	b.stop()
	for _, f := range []*flow{b.up, b.down} {
		if err := f.check(math.MaxInt, 0); err != nil { // what a slow path has no room for is lost
			t.Error(err)
		}
	}
}

// A path that swallows everything, and acknowledges it, is noticed by who
// hears nothing, whether or not there is something to send.
func TestSilentPath(t *testing.T) {
	const timeout, slack = 2 * time.Second, patience / 2
	defer nothingLeft(t)()
	t.Run("paths", func(t *testing.T) {
		for _, tt := range []struct {
			name           string
			up, down       bool // are silent
			client, server string
		}{
			{"both ways", true, true, silent, silent},
			{"to the server", true, false, closed, silent},
			{"to the client", false, true, silent, closed},
		} {
			for _, load := range []bool{false, true} {
				name := tt.name
				if load {
					name += ", under load"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					b := newRelayBench(t, faultPlan{}, Config{Timeout: timeout})
					defer b.stop()
					ctx, cancel := context.WithTimeout(t.Context(), faultPatience)
					defer cancel()
					b.awaitBeats(ctx, t)

					var took time.Duration
					fall := func() {
						b.relay.gate.Lock() // a new session would replace the old one
						defer b.relay.gate.Unlock()
						c := b.relay.newest()
						c.up.silent.Store(tt.up)
						c.down.silent.Store(tt.down)
						start := time.Now()
						client, server := b.clientLog.wait(ctx, t), b.serverLog.wait(ctx, t)
						took = time.Since(start)
						if kindOf(client.err) != tt.client || kindOf(server.err) != tt.server {
							t.Errorf("%s: %v, %s: %v", client.message, client.err, server.message, server.err)
						}
					}
					if load {
						b.flow(ctx, t, fall)
					} else {
						fall()
						b.flow(ctx, t, func() {})
					}
					if took > timeout+slack {
						t.Errorf("noticed after %v", took)
					}
				})
			}
		}
	})
}
