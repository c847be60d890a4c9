package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"dsvpn/session/charm"
)

// ReplayWindow is how long an accepted hello must be remembered: clocks may be
// off by 2 h either way.
const ReplayWindow = 2*maxSkew + time.Second

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
//
// A file keeps the entries for the next process. To a server that should have
// one and has not, every hello may be a replay whose time a predecessor may
// have accepted: it gets a session only with a frame. (To refuse such hellos
// would lock out clients whose clock is slow.)
type replays struct {
	mu    sync.Mutex
	limit int
	until map[helloMAC]time.Time // when an entry is of no more use
	order []helloMAC             // oldest first

	complete time.Time // later hellos were not accepted by any predecessor, but as known
	path     string
	file     *os.File // nil without one
	records  int      // in the file
}

type helloMAC = [charm.HashSize]byte

// recordSize is the size of an entry of the file in bytes: the mac, and until
// when it is of use, in Unix seconds, little-endian.
const recordSize = charm.HashSize + 8

// openReplays makes a memory of so many hellos. It goes on with what the file
// has, if there is one, and works without if that cannot be used.
func openReplays(limit int, path string, now time.Time, log *slog.Logger) *replays {
	r := &replays{limit: limit, until: make(map[helloMAC]time.Time), path: path}
	if path == "" {
		return r
	}
	// A predecessor may have had clients whose clocks were that far ahead.
	r.complete = now.Add(maxSkew + time.Second)
	data, err := os.ReadFile(path)
	if err == nil {
		r.complete = time.Time{}
		r.load(data, now)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = r.rewrite()
	}
	if err != nil {
		log.Info("accepted hellos are not kept for the next start", "err", err)
	}
	return r
}

// load takes the records of a file that are still of use. A last one that was
// cut off is not.
func (r *replays) load(data []byte, now time.Time) {
	for ; len(data) >= recordSize; data = data[recordSize:] {
		until := time.Unix(int64(binary.LittleEndian.Uint64(data[charm.HashSize:])), 0)
		// No hello is accepted for longer. The clock may have been wrong.
		mac := helloMAC(data)
		if _, again := r.until[mac]; !again && !now.After(until) && until.Sub(now) <= ReplayWindow {
			r.remember(mac, until, now)
		}
	}
}

// rewrite makes the file anew, with what is known.
func (r *replays) rewrite() error {
	if err := os.MkdirAll(filepath.Dir(r.path), 0o755); err != nil {
		return err
	}
	var all bytes.Buffer
	for _, mac := range r.order {
		all.Write(record(mac, r.until[mac]))
	}
	fresh, err := os.CreateTemp(filepath.Dir(r.path), filepath.Base(r.path)+".*")
	if err != nil {
		return err
	}
	if _, err = fresh.Write(all.Bytes()); err == nil {
		err = os.Rename(fresh.Name(), r.path)
	}
	if err != nil {
		return errors.Join(err, fresh.Close(), os.Remove(fresh.Name()))
	}
	r.close()
	r.file, r.records = fresh, len(r.order)
	return nil
}

func record(mac helloMAC, until time.Time) []byte {
	return binary.LittleEndian.AppendUint64(mac[:], uint64(until.Unix()))
}

// close closes the file, which stays.
func (r *replays) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// add remembers a hello whose time is sent, and reports whether it is new. An
// error is one of the file, which is then of no more use.
func (r *replays) add(mac helloMAC, sent, now time.Time) (isNew bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()

	if _, known := r.until[mac]; known {
		return false, nil
	}
	// The time in a hello has whole seconds, so the check of it does too.
	until := sent.Add(maxSkew + time.Second)
	r.remember(mac, until, now)
	if r.file == nil {
		return true, nil
	}
	if r.records >= 2*r.limit {
		return true, r.rewrite()
	}
	r.records++
	if _, err = r.file.Write(record(mac, until)); err != nil {
		r.close()
	}
	return true, err
}

func (r *replays) remember(mac helloMAC, until, now time.Time) {
	for len(r.order) > 0 && (len(r.order) >= r.limit || now.After(r.until[r.order[0]])) {
		delete(r.until, r.order[0])
		r.order = r.order[1:]
	}
	r.until[mac] = until
	r.order = append(r.order, mac)
}

// knows reports whether a hello of this time would be remembered if it had
// been accepted before.
func (r *replays) knows(sent time.Time) bool { return sent.After(r.complete) }
