package session

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
)

var (
	relaySeed = flag.Uint64("relay.seed", 0, "run TestFaults from this seed on, 0 is from 1")
	relayRuns = flag.Int("relay.runs", 0, "number of runs of TestFaults, 0 is 1 with a seed, and else 1000, or 100 with -short")
)

// faultWorkers is how many runs go on at a time. Most of the time they wait.
const faultWorkers = 16

// TestFaults runs tunnels over paths that delay, split, merge, throttle, stall,
// corrupt and cut connections as the plan of a seed says. Whatever happens,
// packets flow again afterwards, none is delivered that was not sent, none
// twice, none in another order, none is lost but with its connection, both
// sides say what was wrong, and nothing is left behind.
//
// A failure names its seed, whose plan is always the same:
//
//	go test ./session -run TestFaults -relay.seed 17
//
// And there are more where these come from:
//
//	go test ./session -run TestFaults -relay.seed 1001 -relay.runs 50000 -timeout 0
func TestFaults(t *testing.T) {
	first, runs := max(*relaySeed, 1), *relayRuns
	switch {
	case runs > 0:
	case *relaySeed > 0:
		runs = 1
	case testing.Short():
		runs = 100
	default:
		runs = 1000
	}
	defer nothingLeft(t)()

	var workers sync.WaitGroup
	seeds := make(chan uint64)
	for range min(faultWorkers, runs) {
		workers.Go(func() {
			for seed := range seeds {
				t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { testPlan(t, planOf(seed)) })
			}
		})
	}
	for i := range runs {
		seeds <- first + uint64(i)
	}
	close(seeds)
	workers.Wait()
}

// faultPatience is how long one run may take. It passes only when it fails.
const faultPatience = 3 * patience

// testPlan has packets flow both ways until all of a plan has happened, and
// then until they come through again.
func testPlan(t *testing.T, plan faultPlan) {
	b := newRelayBench(t, plan, Config{Timeout: faultPatience}) // nothing is slow enough for it
	defer func() {
		b.stop()
		if t.Failed() {
			t.Logf("up: %v; down: %v", b.up.err, b.down.err)
			t.Logf("plan: %+v", plan)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), faultPatience)
	defer cancel()
	b.awaitUp(ctx, t)
	b.flow(ctx, t, func() { await(ctx, t, b.relay.over, "the end of the faults") })

	b.stop() // all journals are complete
	b.checkPackets(t)
	b.checkOutcomes(t)
}

// checkPackets checks what has arrived, now that all has.
func (b *relayBench) checkPackets(t *testing.T) {
	t.Helper()
	clientEnds := count(b.clientLog.ends, "session ended")
	serverEnds := count(b.serverLog.ends, "Client disconnected")
	// The last session of each side has lost nothing.
	for _, err := range []error{b.up.check(clientEnds-1, serverEnds-1), b.down.check(serverEnds-1, 0)} {
		if err != nil {
			t.Error(err)
		}
	}
}

// count is how many events have a message.
func count(events []event, message string) (n int) {
	for _, e := range events {
		if e.message == message {
			n++
		}
	}
	return n
}

// checkOutcomes checks what the two sides said at the end of each connection,
// and that the server answered none but true hellos.
func (b *relayBench) checkOutcomes(t *testing.T) {
	t.Helper()
	conns := b.relay.conns
	if len(b.clientLog.ends) != len(conns) {
		t.Errorf("the client tells of the end of %d connections, the relay had %d", len(b.clientLog.ends), len(conns))
		return
	}
	serverSays := make(map[string]event)
	for _, e := range b.serverLog.ends {
		if _, again := serverSays[e.remote]; again {
			t.Errorf("the server tells twice of the end of the connection from %s", e.remote)
		}
		serverSays[e.remote] = e
	}
	for i, c := range conns {
		client, server := c.expected()
		if e := b.clientLog.ends[i]; !slices.Contains(client, kindOf(e.err)) {
			t.Errorf("connection %d: the client says %q: %v; want one of %q", i, e.message, e.err, client)
		}
		if e := serverSays[c.remote]; !slices.Contains(server, kindOf(e.err)) {
			t.Errorf("connection %d: the server says %q: %v; want one of %q", i, e.message, e.err, server)
		}
		if end := c.plan.end; end.kind == flipFault && end.up && end.at < helloSize && c.down.passed.Load() > 0 {
			t.Errorf("connection %d: the server answers a corrupted hello", i)
		}
	}
}

// What a connection may end with.
const (
	nothing   = "nothing" // it was not accepted
	stopped   = "stopped"
	closed    = "closed by the peer"
	replaced  = "replaced"
	truncated = "truncated"
	noAnswer  = "no answer"
	wrongKey  = "wrong key"
	corrupted = "corrupted"
	silent    = "silent"
)

// kindOf is what an error means.
func kindOf(err error) string {
	short := (*TruncatedError)(nil)
	switch {
	case err == nil:
		return nothing
	case err == errStopped, errors.Is(err, net.ErrClosed):
		return stopped
	case err == errReplaced:
		return replaced
	case errors.Is(err, ErrNoAnswer):
		return noAnswer
	case errors.Is(err, ErrWrongKey):
		return wrongKey
	case errors.Is(err, ErrCorrupted):
		return corrupted
	case errors.As(err, &short):
		return truncated
	case errors.Is(err, errPeerSilent):
		return silent
	case errors.Is(err, errPeerClosed), isClosed(err):
		return closed
	}
	return "something else"
}

// expected is what the client and the server may say of the end of a
// connection, after it.
func (c *relayed) expected() (client, server []string) {
	end, up, down := c.plan.end, int(c.up.passed.Load()), int(c.down.passed.Load())
	// The client may be back before the server has noticed that it was gone,
	// and the run may be over.
	gone := []string{closed, replaced, stopped}
	switch {
	case !c.ended.Load():
		return []string{stopped}, []string{stopped, closed}
	case end.kind == flipFault && end.up && end.at < helloSize:
		return []string{noAnswer}, []string{wrongKey}
	case end.kind == flipFault && end.up:
		return []string{closed}, []string{corrupted}
	case end.kind == flipFault && end.at < answerSize:
		return []string{wrongKey}, gone
	case end.kind == flipFault:
		return []string{corrupted}, gone
	case end.kind == rstFault: // may overtake what passed before it
		return []string{closed, noAnswer, truncated}, append(gone, truncated, nothing)
	}
	switch {
	case down == 0:
		client = []string{noAnswer}
	case down < answerSize:
		client = []string{truncated}
	default:
		client = []string{closed}
	}
	switch {
	case up == 0:
		server = []string{truncated, stopped, nothing}
	case up < helloSize:
		server = []string{truncated, stopped}
	default:
		server = gone
	}
	return client, server
}
