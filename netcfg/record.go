package netcfg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A record is a file of entries, a line each. Lines are only ever added, so that
// a crash can spoil no more than the last one. The folder is one that systems
// empty when they start (hier(7): /var/run), so that a record is never older
// than what it is about.

// recordSuffix is that of the file, behind the name of the interface.
const recordSuffix = ".undo"

// note adds an entry to a record. Where there is none, nothing is kept.
func note(file string, e entry) error {
	if file == "" || len(e.Undo.Args) == 0 {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	return errors.Join(err, f.Close())
}

// pending reads what is still to be taken back, in the order in which it was
// done.
func pending(f *os.File) (entries []entry, err error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // it was being written when the process died, before it did anything
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read %s (delete it to go on without): %w", f.Name(), err)
		}
		same := func(old entry) bool { return slices.Equal(old.Undo.Args, e.Undo.Args) }
		entries = slices.DeleteFunc(entries, same)
		if !e.Done {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// holdRecord makes a record and locks it. The release removes it, unless
// something is left to take back.
func holdRecord(file string) (release func() error, err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	for {
		f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lockFile(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// What we have locked may have been swept away meanwhile.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(file)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return func() error { return releaseRecord(f) }, nil
		}
		f.Close()
	}
}

// releaseRecord lets go of a record, and of its folder if that is empty.
func releaseRecord(f *os.File) error {
	left, err := pending(f)
	if err == nil && len(left) == 0 {
		err = os.Remove(f.Name())
		os.Remove(filepath.Dir(f.Name())) // fails, as it should, while a file is in it
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // somebody has tidied up
	}
	return errors.Join(err, f.Close())
}

// record is that of a process.
type record struct {
	Interface string
	Alive     bool    // the process runs
	Left      []entry // if not: what it has left
	file      *os.File
}

// eachRecord calls f for each record in a folder. A record whose process is no
// more is ours while f runs.
func eachRecord(stateDir string, f func(record) error) error {
	names, err := filepath.Glob(filepath.Join(stateDir, "*"+recordSuffix))
	if err != nil || stateDir == "" {
		return err
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, openRecord(name, f))
	}
	return errors.Join(errs...)
}

func openRecord(name string, f func(record) error) error {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	r := record{Interface: strings.TrimSuffix(filepath.Base(name), recordSuffix), file: file}
	free, err := tryLock(file)
	if r.Alive = !free; err == nil && free {
		r.Left, err = pending(file)
	}
	if err != nil {
		return err
	}
	return f(r)
}
