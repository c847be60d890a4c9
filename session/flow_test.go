package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"dsvpn/tun/tuntest"
)

// A flow is the numbered packets of one direction of a run.
type flow struct {
	run      uint64
	name     string // up or down
	from, to *tuntest.Device

	mu      sync.Mutex
	sent    uint64   // packets, and the number of the next
	got     []uint64 // numbers, as they arrived
	highest uint64   // of them, and one more
	err     error    // the first packet that is none of ours
	arrived chan struct{}
}

func newFlow(run uint64, name string, from, to *tuntest.Device) *flow {
	return &flow{run: run, name: name, from: from, to: to, arrived: make(chan struct{}, 1)}
}

// packet makes the packet of a number: what begins like IPv4, whose it is, and
// bytes that no other packet has. So who knows the number knows all of it.
func (f *flow) packet(number uint64) []byte {
	const smallest, common, largest = 20, 1400, testMTU
	key := [32]byte{0: f.name[0]}
	binary.LittleEndian.PutUint64(key[8:], f.run)
	binary.LittleEndian.PutUint64(key[16:], number)
	source := rand.NewChaCha8(key)

	random := rand.New(source)
	p := make([]byte, random.IntN([]int{100, 100, 100, common, common, common, largest}[random.IntN(7)])+smallest)
	p = p[:min(len(p), largest)]
	source.Read(p)
	p[0] = 0x45
	binary.LittleEndian.PutUint64(p[1:], f.run)
	binary.LittleEndian.PutUint64(p[9:], number)
	return p
}

// Packets that are sent and have not arrived, nor any behind them. With more
// of them on the way, a flow only probes.
const flowWindow = 64

// send sends a few packets every millisecond, and one if no more may be on the
// way: those before it may be lost.
func (f *flow) send(ctx context.Context) {
	random := rand.New(rand.NewPCG(f.run, uint64(f.name[0])))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.inject(1 + random.IntN(6))
		case <-ctx.Done():
			return
		}
	}
}

// inject sends up to n packets.
func (f *flow) inject(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent-f.highest >= flowWindow {
		n = 1
	}
	for range n {
		f.from.Inject(f.packet(f.sent))
		f.sent++
	}
}

// receive takes packets until ctx is done.
func (f *flow) receive(ctx context.Context) {
	for {
		p, err := f.to.Read(ctx)
		if err != nil {
			return
		}
		f.take(p)
		select {
		case f.arrived <- struct{}{}:
		default:
		}
	}
}

func (f *flow) take(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	number := binary.LittleEndian.Uint64(p[9:17])
	if number >= f.sent || !bytes.Equal(p, f.packet(number)) {
		if f.err == nil {
			f.err = fmt.Errorf("%s: the device got %d bytes %x… that nobody sent", f.name, len(p), head(p))
		}
		return
	}
	f.got = append(f.got, number)
	f.highest = max(f.highest, number+1)
}

// next is the number of the packet that is sent next.
func (f *flow) next() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent
}

// reach waits for a packet with a number, or for one behind it.
func (f *flow) reach(ctx context.Context, t *testing.T, number uint64) {
	t.Helper()
	for {
		f.mu.Lock()
		highest := f.highest
		f.mu.Unlock()
		if highest > number {
			return
		}
		select {
		case <-f.arrived:
		case <-ctx.Done():
			t.Fatalf("%s: packet %d does not arrive, the last is %d", f.name, number, int64(highest)-1)
		}
	}
}

// check looks at all that has arrived, the last packet included. Sessions that
// have ended may each have lost the last of what they had; and what is left of
// a session may arrive among the first of the next.
func (f *flow) check(ended, overlaps int) error {
	if f.err != nil {
		return f.err
	}
	if n := strands(f.got); n > 1+overlaps {
		return fmt.Errorf("%s: packets are out of order: they make %d sequences, with %d overlaps of sessions", f.name, n, overlaps)
	}
	sorted := slices.Sorted(slices.Values(f.got))
	next, gaps := uint64(0), 0
	for _, number := range sorted {
		switch {
		case number < next:
			return fmt.Errorf("%s: packet %d arrived twice", f.name, number)
		case number > next:
			gaps++
		}
		next = number + 1
	}
	if gaps > ended {
		return fmt.Errorf("%s: %d gaps, with %d sessions that ended: a session has lost packets from its middle", f.name, gaps, ended)
	}
	return nil
}

// strands is how many rising sequences numbers are woven of, at least.
func strands(numbers []uint64) int {
	var last []uint64 // of each sequence so far; they fall
	for _, n := range numbers {
		i := slices.IndexFunc(last, func(l uint64) bool { return l < n })
		if i < 0 {
			last = append(last, n)
		} else {
			last[i] = n
		}
	}
	return len(last)
}
