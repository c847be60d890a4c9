package session

import (
	"sync"
	"time"

	"dsvpn/session/charm"
)

// maxReplays bounds the memory of accepted hellos: 65,536 of them take about
// 5 MB. It is filled only by peers that have the key, at more than four
// connections a second for the four hours that an entry may have to stay.
const maxReplays = 1 << 16

// replays remembers the hellos that were accepted, for as long as the time in
// them would be accepted again.
//
// When it is full, the oldest entry makes room. That errs on the side of the
// clients that have the key, who could not connect otherwise, and costs
// little: a replayed hello gets a session only while nobody else has one, can
// neither read nor send anything in it, and gives way to the first frame of a
// true client.
type replays struct {
	mu    sync.Mutex
	limit int
	until map[helloMAC]time.Time // when an entry is of no more use
	order []helloMAC             // oldest first
}

type helloMAC = [charm.HashSize]byte

func newReplays(limit int) *replays {
	return &replays{limit: limit, until: make(map[helloMAC]time.Time)}
}

// add remembers a hello whose time is sent, and reports whether it is new.
func (r *replays) add(mac helloMAC, sent, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	if _, known := r.until[mac]; known {
		return false
	}
	for len(r.order) > 0 && (len(r.order) >= r.limit || now.After(r.until[r.order[0]])) {
		delete(r.until, r.order[0])
		r.order = r.order[1:]
	}
	// The time in a hello has whole seconds, so the check of it does too.
	r.until[mac] = sent.Add(maxSkew + time.Second)
	r.order = append(r.order, mac)
	return true
}
