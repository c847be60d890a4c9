package session

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// No bytes but the recorded ones make the server answer.
func FuzzServerHandshake(f *testing.F) {
	r := recorded()
	f.Add(r.hello)
	f.Add(r.hello[:40])
	f.Add(append(bytes.Clone(r.hello), 0))
	f.Fuzz(func(t *testing.T, input []byte) {
		conn := &scriptConn{input: input}
		_, _, _, err := serverHandshake(conn, r.config(r.answer), noReplays(1))
		authentic := bytes.HasPrefix(input, r.hello)
		if authentic != (err == nil) || authentic != (conn.written.Len() > 0) {
			t.Errorf("err = %v, answer of %d bytes", err, conn.written.Len())
		}
	})
}

// No bytes but the recorded ones make the client trust a server.
func FuzzClientHandshake(f *testing.F) {
	r := recorded()
	f.Add(r.answer)
	f.Add(r.answer[:40])
	f.Add(append(bytes.Clone(r.answer), 0))
	f.Fuzz(func(t *testing.T, input []byte) {
		_, _, err := clientHandshake(&scriptConn{input: input}, r.config(r.hello))
		if bytes.HasPrefix(input, r.answer) != (err == nil) {
			t.Errorf("err = %v", err)
		}
	})
}

// Whatever comes, and however it is cut, what goes to the device is what the
// peer sent, from the first packet on, without a gap.
func FuzzFrames(f *testing.F) {
	r := recorded()
	_, up, _, err := r.serverSide()
	if err != nil {
		f.Fatal(err)
	}
	sent := packets(f, r.up, up)
	f.Add(r.up, uint16(1))
	f.Add(r.up[:300], uint16(7))
	f.Add(append(bytes.Clone(r.up[:56]), 0xff, 0xff, 0xff), uint16(1000))
	f.Fuzz(func(t *testing.T, stream []byte, step uint16) {
		conn := &scriptConn{input: stream, step: func() int { return 1 + int(step) }}
		got, err := receiveAll(conn, up)
		if err == nil || len(got) > len(sent) {
			t.Fatalf("%d packets, %v", len(got), err)
		}
		comparePackets(t, got, sent[:len(got)])
	})
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte(testKey.Base64() + "\n"))
	f.Add(testKey[:])
	f.Add(make([]byte, 31))
	f.Fuzz(func(t *testing.T, content []byte) {
		key, _, err := keyFromContent(content)
		if (err == nil) != (len(content) >= len(key)) {
			t.Errorf("%d bytes: %v", len(content), err)
		}
		if err == nil && !bytes.HasPrefix(content, key[:]) {
			t.Error("the key is not the first bytes")
		}
		if key, err := ParseKey(string(content)); err == nil {
			if again, err := ParseKey(key.Base64()); err != nil || again != key {
				t.Errorf("the key does not survive its text: %v", err)
			}
		}
	})
}

// Whatever is in the file, what is accepted after it is read is remembered, and
// nothing that it has grows.
func FuzzReplays(f *testing.F) {
	now := time.Unix(1_790_000_000, 0)
	f.Add([]byte(nil))
	f.Add(append(record(macOf(1), now), record(macOf(2), now.Add(maxSkew))...))
	f.Add(append(record(macOf(3), now.Add(-time.Second)), 1, 2, 3))
	f.Fuzz(func(t *testing.T, content []byte) {
		const limit = 8
		path := filepath.Join(t.TempDir(), "hellos")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		open := func() *replays { return openReplays(limit, path, now, slog.New(slog.DiscardHandler)) }
		r := open()
		known := slices.Clone(r.order)
		isNew, err := r.add(macOf(7), now, now)
		r.close()
		if err != nil || isNew == slices.Contains(known, macOf(7)) {
			t.Errorf("add = %v, %v", isNew, err)
		}
		r = open()
		defer r.close()
		if isNew, err := r.add(macOf(7), now, now); isNew || err != nil {
			t.Errorf("add again = %v, %v", isNew, err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() > (limit+1)*recordSize || len(r.order) > limit || len(r.until) != len(r.order) {
			t.Errorf("%d entries of %d in %d bytes, %v", len(r.until), len(r.order), info.Size(), err)
		}
	})
}
