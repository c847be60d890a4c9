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
	checked uint64   // the first number that is not
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
	most := []int{100, 100, 100, common, common, common, largest}[random.IntN(7)]
	p := make([]byte, smallest+random.IntN(most-smallest+1))
	source.Read(p)
	p[0] = 0x45
	binary.LittleEndian.PutUint64(p[1:], f.run)
	binary.LittleEndian.PutUint64(p[9:], number)
	return p
}

const (
	// flowWindow is how many packets may be under way. If no more may be, they
	// or those before them are lost or late: then a flow probes.
	flowWindow = 64

	// probeBytes is what a probe has at least. A few of them complete the
	// longest frame, such as one whose length was corrupted.
	probeBytes = 8 << 10

	// longestProbe bounds the pauses between probes, which double. So a
	// machine that is too slow for it all gets less to do.
	longestProbe = 32 * time.Millisecond
)

// send sends a few packets every millisecond, or probes, until ctx is done.
func (f *flow) send(ctx context.Context) {
	random := rand.New(rand.NewPCG(f.run, uint64(f.name[0])))
	pause := time.Millisecond
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if f.inject(1 + random.IntN(6)) {
			pause = time.Millisecond
		} else {
			pause = min(2*pause, longestProbe)
		}
	}
}

// flood sends more than a slow path can take.
func (f *flow) flood() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range 100 {
		f.from.Inject(f.packet(f.sent))
		f.sent++
	}
}

// inject sends n packets, or a probe if they may not be under way as well. It
// reports whether they may.
func (f *flow) inject(n int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	open := f.sent-f.highest < flowWindow
	for bytes := 0; open && n > 0 || !open && bytes < probeBytes; n-- {
		p := f.packet(f.sent)
		f.from.Inject(p)
		f.sent++
		bytes += len(p)
	}
	return open
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

// check looks at what has arrived since the last time; nothing may be under
// way. Sessions that have ended may each have lost the last of what they had;
// and what is left of a session may arrive among the first of the next.
func (f *flow) check(ended, overlaps int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if n := strands(f.got); n > 1+overlaps {
		return fmt.Errorf("%s: packets are out of order: they make %d sequences, with %d overlaps of sessions", f.name, n, overlaps)
	}
	sorted := slices.Sorted(slices.Values(f.got))
	next, gaps := f.checked, 0
	for _, number := range sorted {
		switch {
		case number < next:
			return fmt.Errorf("%s: packet %d arrived twice", f.name, number)
		case number > next:
			gaps++
		}
		next = number + 1
	}
	f.checked, f.got = next, f.got[:0]
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
