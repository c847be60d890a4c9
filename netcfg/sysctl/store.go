package sysctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Store sets parameters for a time and puts them back. Several tunnels on a
// host may need the same one: the last that does puts it back, and none does
// where somebody else has changed it meanwhile.
//
// Who needs what, and what was there before, is in a small file, so that a
// crash does not lose it. Where the file cannot be written it is in memory,
// and the other tunnels do not know of it.
type Store struct {
	kernel Kernel
	dir    string // empty: memory only
	host   string // tells this network namespace from others that see the same dir
}

// NewStore makes a store that keeps its file in dir, which is made when it is
// needed and removed when it is empty. Each network namespace has parameters
// of its own, and so a file of its own.
func NewStore(dir string) *Store { return NewStoreOf(proc{}, dir) }

// NewStoreOf makes a store of the parameters of another kernel than that of
// Linux.
func NewStoreOf(k Kernel, dir string) *Store {
	return &Store{kernel: k, dir: dir, host: namespace()}
}

// Kernel has parameters.
type Kernel interface {
	Read(name string) (value string, err error)
	Write(name, value string) error
}

// proc is the kernel of Linux.
type proc struct{}

func (proc) Read(name string) (string, error) { return Read(name) }
func (proc) Write(name, value string) error   { return Write(name, value) }

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
		old, err := s.kernel.Read(name)
		if err != nil {
			return err
		}
		e := all[name]
		if e != nil && e.Set == value && old == value { // another tunnel of ours has set it
			if !slices.Contains(e.Holders, holder) {
				e.Holders = append(e.Holders, holder)
			}
			undo = func() error { return s.release(name, holder, *e) }
			return nil
		}
		if old == value {
			return nil
		}
		e = &entry{Old: old, Set: value, Holders: []string{holder}}
		all[name] = e
		// The entry is in the file before the value is in the kernel: of the
		// two ways to crash in between, this one loses nothing.
		if err := s.save(all); err != nil {
			return err
		}
		if err := s.kernel.Write(name, value); err != nil {
			delete(all, name)
			return err
		}
		undo = func() error { return s.release(name, holder, *e) }
		return nil
	})
	return undo, err
}

// release says that a holder no longer needs a parameter. Where there is no
// entry, since the file could not be written or somebody has removed it, the
// parameter is as memory has it.
func (s *Store) release(name, holder string, memory entry) error {
	return s.update(func(all entries) error {
		if all[name] == nil {
			return s.putBack(name, memory)
		}
		return s.drop(all, name, func(h string) bool { return h == holder })
	})
}

// Sweep releases what holders that are no more had set, and says which
// parameters were put back.
func (s *Store) Sweep(gone func(name, holder string) bool) (restored []string, err error) {
	err = s.update(func(all entries) error {
		var errs []error
		for name := range all {
			err := s.drop(all, name, func(holder string) bool { return gone(name, holder) })
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
func (s *Store) drop(all entries, name string, gone func(string) bool) error {
	e := all[name]
	if e == nil {
		return nil
	}
	if e.Holders = slices.DeleteFunc(e.Holders, gone); len(e.Holders) > 0 {
		return nil
	}
	if err := s.putBack(name, *e); err != nil {
		return err
	}
	delete(all, name)
	return nil
}

// putBack writes the old value, unless somebody else has changed the parameter
// since we set it.
func (s *Store) putBack(name string, e entry) error {
	now, err := s.kernel.Read(name)
	if err != nil {
		return err
	}
	if now != e.Set {
		return nil
	}
	return s.kernel.Write(name, e.Old)
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
	return errors.Join(err, s.save(all))
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

// save writes the file, or removes it when it has nothing to say. That there
// is no place for it is no error.
func (s *Store) save(all entries) error {
	if s.dir == "" {
		return nil
	}
	var err error
	if len(all) == 0 {
		err = os.Remove(s.file())
	} else {
		err = s.write(all)
	}
	if errors.Is(err, fs.ErrNotExist) || unwritable(err) {
		return nil
	}
	return err
}

// write puts a new file in the place of the old one, so that it is never seen
// half written.
func (s *Store) write(all entries) error {
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	next := s.file() + ".new"
	if err := os.WriteFile(next, b, 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.file())
}

// unwritable reports whether an error says that this place is not for us to
// write: a read-only file system, or not our own directory.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}
