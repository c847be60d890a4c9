package sysctl

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"dsvpn/netcfg/netlab/netlabtest"
)

const forward = "net.ipv4.ip_forward"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onHost runs f on a host of its own, where forward is 0.
func onHost(t *testing.T, f func(value func() string)) {
	t.Helper()
	h := netlabtest.Host(t, netlabtest.New(t), "host")
	err := h.Do(func() error {
		f(func() string {
			v, err := Read(forward)
			must(t, err)
			return v
		})
		return nil
	})
	must(t, err)
}

func TestLastHolderPutsBack(t *testing.T) {
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		onHost(t, func(value func() string) {
			dir := filepath.Join(t.TempDir(), "state")
			var undo []func() error
			for _, holder := range []string{"tun0", "tun1", "tun2"} {
				u, err := NewStore(dir).Set(forward, "1", holder)
				must(t, err)
				undo = append(undo, u)
			}
			for i, n := range order {
				if value() != "1" {
					t.Errorf("order %v: %s is off while %d tunnels need it", order, forward, len(order)-i)
				}
				must(t, undo[n]())
			}
			if value() != "0" {
				t.Errorf("order %v: %s is not put back", order, forward)
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("order %v: state directory: %v, want it gone", order, err)
			}
		})
	}
}

func TestWhatOthersSetStays(t *testing.T) {
	onHost(t, func(value func() string) {
		dir := filepath.Join(t.TempDir(), "state")
		must(t, Write(forward, "1"))
		undo, err := NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		if undo != nil {
			t.Error("there is an undo for a value that was right already")
		}
		must(t, Write(forward, "0"))

		undo, err = NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		must(t, Write(forward, "0")) // somebody turns it off,
		must(t, Write(forward, "1")) // and on again: that cannot be told from our own
		must(t, undo())
		if value() != "0" {
			t.Error("not put back")
		}

		undo, err = NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		must(t, Write(forward, "0"))
		must(t, undo())
		if value() != "0" {
			t.Error("what somebody else has set did not stay")
		}
	})
}

// A crash loses nothing: the next process knows what was there before.
func TestSweep(t *testing.T) {
	onHost(t, func(value func() string) {
		dir := filepath.Join(t.TempDir(), "state")
		_, err := NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		none, err := NewStore(dir).Sweep(func(string, string) bool { return false })
		must(t, err)
		if len(none) != 0 || value() != "1" {
			t.Errorf("restored %q although its holder lives", none)
		}
		restored, err := NewStore(dir).Sweep(func(_, holder string) bool { return holder == "tun0" })
		must(t, err)
		if len(restored) != 1 || restored[0] != forward || value() != "0" {
			t.Errorf("restored %q, value %s", restored, value())
		}
	})
}

// Each host has parameters of its own, and must not put back those of another
// that shares the file system.
func TestHostsShareADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	onHost(t, func(value func() string) {
		undo, err := NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		onHost(t, func(func() string) {
			restored, err := NewStore(dir).Sweep(func(string, string) bool { return true })
			must(t, err)
			if len(restored) != 0 {
				t.Errorf("a host restored %q of another", restored)
			}
		})
		must(t, undo())
		if value() != "0" {
			t.Error("not put back")
		}
	})
}

func TestNoPlaceForTheFile(t *testing.T) {
	// Nobody can make a directory in sysfs.
	for _, dir := range []string{"", "/sys/dsvpn"} {
		onHost(t, func(value func() string) {
			undo, err := NewStore(dir).Set(forward, "1", "tun0")
			must(t, err)
			must(t, undo())
			if value() != "0" {
				t.Errorf("directory %q: not put back", dir)
			}
		})
	}
}

// Somebody who tidies up /run does not keep us from putting things back.
func TestFileRemoved(t *testing.T) {
	onHost(t, func(value func() string) {
		dir := filepath.Join(t.TempDir(), "state")
		undo, err := NewStore(dir).Set(forward, "1", "tun0")
		must(t, err)
		must(t, os.RemoveAll(dir))
		must(t, undo())
		if value() != "0" {
			t.Error("not put back")
		}
	})
}

// A damaged file is an error that names it, and changes nothing.
func TestDamagedFile(t *testing.T) {
	for _, content := range []string{"", "{", `{"net.ipv4.ip_forward":3}`, "[]"} {
		onHost(t, func(value func() string) {
			dir := t.TempDir()
			s := NewStore(dir)
			must(t, os.WriteFile(s.file(), []byte(content), 0o600))
			if _, err := s.Set(forward, "1", "tun0"); err == nil || value() != "0" {
				t.Errorf("file %q: error %v, value %s", content, err, value())
			}
		})
	}
}

// A file that somebody has edited is understood, or refused with an error.
func FuzzStoreFile(f *testing.F) {
	f.Add([]byte(`{"net.ipv4.ip_forward":{"old":"0","set":"1","holders":["tun0"]}}`))
	f.Add([]byte(`{"a":null}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s := &Store{dir: t.TempDir(), host: "fuzz"}
		if err := os.WriteFile(s.file(), content, 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := s.load()
		if (all == nil) != (err != nil) {
			t.Fatalf("load = %v, %v", all, err)
		}
		if err != nil {
			return
		}
		if err := s.save(all); err != nil {
			t.Fatal(err)
		}
		if again, err := s.load(); err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("%v becomes %v, %v", all, again, err)
		}
	})
}
