package sysctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Store sets parameters for a time and puts them back. Several tunnels on a
// host may need the same one: the last that does puts it back, and none does
// where somebody else has changed it meanwhile.
//
// Who needs what, and what was there before, is in a small file, so that a
// crash does not lose it. Where the file cannot be written it is in memory,
// and the other tunnels do not know of it.
type Store struct {
	dir  string // empty: memory only
	host string // tells this network namespace from others that see the same dir
}

// NewStore makes a store that keeps its file in dir, which is made when it is
// needed and removed when it is empty. Each network namespace has parameters
// of its own, and so a file of its own.
func NewStore(dir string) *Store {
	return &Store{dir: dir, host: namespace()}
}

// entry is a parameter that one of our tunnels has set.
type entry struct {
	Old     string   `json:"old"`
	Set     string   `json:"set"`
	Holders []string `json:"holders"` // interfaces of the tunnels that need it
}

// entries is the content of the file, by name of parameter.
type entries map[string]*entry

// Set makes a parameter have a value while holder, the interface of a tunnel,
// needs it. A parameter that has the value already is not written. The undo is
// nil where nothing is to be put back.
func (s *Store) Set(name, value, holder string) (undo func() error, err error) {
	err = s.update(func(all entries) error {
		old, err := Read(name)
		if err != nil {
			return err
		}
		e := all[name]
		if e != nil && e.Set == value && old == value { // another tunnel of ours has set it
			if !slices.Contains(e.Holders, holder) {
				e.Holders = append(e.Holders, holder)
			}
			undo = func() error { return s.release(name, holder) }
			return nil
		}
		if old == value {
			return nil
		}
		all[name] = &entry{Old: old, Set: value, Holders: []string{holder}}
		// The entry is in the file before the value is in the kernel: of the
		// two ways to crash in between, this one loses nothing.
		persistent, err := s.save(all)
		if err != nil {
			return err
		}
		if err := Write(name, value); err != nil {
			delete(all, name)
			return err
		}
		undo = func() error { return s.release(name, holder) }
		if !persistent {
			undo = func() error { return putBack(name, entry{Old: old, Set: value}) }
		}
		return nil
	})
	return undo, err
}

// release says that a holder no longer needs a parameter.
func (s *Store) release(name, holder string) error {
	return s.update(func(all entries) error {
		return all.drop(name, func(h string) bool { return h == holder })
	})
}

// Sweep releases what holders that are no more had set, and says which
// parameters were put back.
func (s *Store) Sweep(gone func(holder string) bool) (restored []string, err error) {
	err = s.update(func(all entries) error {
		var errs []error
		for name := range all {
			err := all.drop(name, gone)
			if all[name] == nil && err == nil {
				restored = append(restored, name)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	slices.Sort(restored)
	return restored, err
}

// drop takes holders from an entry and, when none is left, puts the parameter
// back and forgets it.
func (all entries) drop(name string, gone func(string) bool) error {
	e := all[name]
	if e == nil {
		return nil
	}
	if e.Holders = slices.DeleteFunc(e.Holders, gone); len(e.Holders) > 0 {
		return nil
	}
	if err := putBack(name, *e); err != nil {
		return err
	}
	delete(all, name)
	return nil
}

// putBack writes the old value, unless somebody else has changed the parameter
// since we set it.
func putBack(name string, e entry) error {
	now, err := Read(name)
	if err != nil {
		return err
	}
	if now != e.Set {
		return nil
	}
	return Write(name, e.Old)
}

func (s *Store) file() string { return filepath.Join(s.dir, "sysctl-"+s.host+".json") }

// update runs change on the content of the file, alone among all processes,
// and writes it back if it has changed. Without a usable directory it starts
// from nothing.
func (s *Store) update(change func(entries) error) error {
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	all, err := s.load()
	if err != nil {
		return err
	}
	err = change(all)
	_, saveErr := s.save(all)
	return errors.Join(err, saveErr)
}

func (s *Store) load() (entries, error) {
	all := entries{}
	if s.dir == "" {
		return all, nil
	}
	b, err := os.ReadFile(s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s (delete it to go on without the former values of sysctls): %w", s.file(), err)
	}
	for name, e := range all {
		if e == nil { // "null" in a file that somebody has edited
			delete(all, name)
		}
	}
	return all, nil
}

// save writes the file, or removes it when it has nothing to say. It reports
// whether the entries are safe there.
func (s *Store) save(all entries) (bool, error) {
	if s.dir == "" {
		return false, nil
	}
	if len(all) == 0 {
		err := os.Remove(s.file())
		if errors.Is(err, fs.ErrNotExist) || unwritable(err) {
			err = nil
		}
		return false, err
	}
	b, err := json.Marshal(all)
	if err != nil {
		return false, err
	}
	// A new file renamed over the old one is never seen half written.
	next := s.file() + ".new"
	err = os.WriteFile(next, b, 0o600)
	if err == nil {
		err = os.Rename(next, s.file())
	}
	if errors.Is(err, fs.ErrNotExist) || unwritable(err) {
		return false, nil
	}
	return err == nil, err
}
