package dns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is a resolv.conf that can be replaced for a time.
//
// A process may be killed between any two system calls. What it leaves says by
// itself how far it has come:
//
//	the file     the former one    the process was killed
//	theirs       is missing        before it began, or after all was put back
//	theirs       the same          before the file was replaced, or when one that is
//	                               written in place had been put back
//	theirs       another           while ours was there, and somebody has changed it since
//	ours         is there          while ours was there
//	ours         is missing        while ours was there, and there had been no file
//	empty        is there          while a file was being written in place
type file struct{ path string }

func (f file) former() string { return f.path + formerSuffix }
func (f file) next() string   { return f.path + nextSuffix }

// replace puts content in the place of the file and keeps what was there. Ours
// that is there already makes room: a process that was killed has left it, or
// this one wants another.
func (f file) replace(content []byte) error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	ours, err := f.ours()
	switch {
	case err != nil:
		return err
	case ours && f.inUse():
		return fmt.Errorf("%s is that of another dsvpn client, which is running", f.path)
	case !ours:
		if err := f.keep(); err != nil {
			return fmt.Errorf("keep what is there: %w", err)
		}
	}
	if err := f.put(content); err != nil {
		return errors.Join(err, f.restore())
	}
	return hold(f.path)
}

// putBack restores the file, unless somebody has changed it since.
func (f file) putBack() error {
	unlock, err := f.lock()
	if err != nil {
		return err
	}
	defer unlock()
	defer release(f.path)
	return f.restore()
}

// sweep is putBack after a process that was killed. It reports whether there
// was anything to do.
func (f file) sweep() (found bool, err error) {
	if !f.touched() {
		return false, nil
	}
	unlock, err := f.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	ours, err := f.ours()
	if err != nil || ours && held(f.path) {
		return false, err
	}
	return true, f.restore()
}

// touched reports whether there is anything of ours.
func (f file) touched() bool {
	for _, path := range []string{f.former(), f.next()} {
		if _, err := os.Lstat(path); err == nil {
			return true
		}
	}
	ours, err := f.ours()
	return ours && err == nil
}

// ours reports whether the file is what we have written, or what is left when
// we were stopped in the middle of it.
func (f file) ours() (bool, error) {
	info, err := os.Lstat(f.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return false, err
	}
	if len(b) == 0 {
		return !f.same(), nil
	}
	return isOurs(b), nil
}

// keep stores what is there beside it: the very same file, by a second name; a
// link that leads where it leads; a copy of a file that is a mount point. That
// there is nothing is kept as nothing.
func (f file) keep() error {
	os.Remove(f.next())
	target, err := os.Readlink(f.path)
	if err == nil {
		err = os.Symlink(target, f.next())
	} else {
		err = os.Link(f.path, f.next())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return remove(f.former())
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM): // a mount point; no such links on this file system
		err = f.copy()
	}
	if err == nil {
		err = os.Rename(f.next(), f.former())
	}
	// Renaming does nothing where both are names of one file already.
	return errors.Join(err, remove(f.next()))
}

func (f file) copy() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	return write(f.next(), b, os.O_CREATE|os.O_EXCL, info.Mode().Perm())
}

// put makes content the file: a new one in its place or, where that cannot be,
// a new content.
func (f file) put(content []byte) error {
	os.Remove(f.next())
	if err := write(f.next(), content, os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return err
	}
	err := os.Rename(f.next(), f.path)
	if errors.Is(err, unix.EBUSY) { // a mount point
		if err = write(f.path, content, os.O_TRUNC, 0); err != nil {
			os.Truncate(f.path, 0) // half of it would look like somebody else's
		}
	}
	return errors.Join(err, remove(f.next()))
}

// restore puts back what was kept.
func (f file) restore() error {
	ours, err := f.ours()
	if err != nil {
		return err
	}
	if !ours {
		changed := !f.same()
		if err := errors.Join(remove(f.former()), remove(f.next())); err != nil || !changed {
			return err
		}
		return ErrChanged
	}
	err = os.Rename(f.former(), f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = remove(f.path) // there was none
	case errors.Is(err, unix.EBUSY): // a mount point
		var b []byte
		if b, err = os.ReadFile(f.former()); err == nil {
			err = write(f.path, b, os.O_TRUNC, 0)
		}
		if err == nil {
			err = remove(f.former())
		}
	}
	return errors.Join(err, remove(f.next()))
}

// same reports whether the file is the one that was kept, or none was.
func (f file) same() bool {
	kept, err := os.Lstat(f.former())
	if err != nil {
		return true
	}
	now, err := os.Lstat(f.path)
	if err != nil || kept.Mode().Type() != now.Mode().Type() {
		return false
	}
	if kept.Mode().Type() == fs.ModeSymlink {
		a, err1 := os.Readlink(f.former())
		b, err2 := os.Readlink(f.path)
		return err1 == nil && err2 == nil && a == b
	}
	a, err1 := os.ReadFile(f.former())
	b, err2 := os.ReadFile(f.path)
	return err1 == nil && err2 == nil && bytes.Equal(a, b)
}

// lock keeps all processes but one from changing the file.
func (f file) lock() (unlock func(), err error) {
	d, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		d.Close()
		return nil, &os.PathError{Op: "lock", Path: d.Name(), Err: err}
	}
	return func() { d.Close() }, nil
}

// write makes or overwrites a file and sees it on the disk: what takes the place
// of another must not be empty after a loss of power.
func write(path string, content []byte, flags int, perm fs.FileMode) error {
	w, err := os.OpenFile(path, os.O_WRONLY|flags, perm)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	if flags&os.O_EXCL != 0 {
		err = errors.Join(err, w.Chmod(perm)) // whatever the umask
	}
	return errors.Join(err, w.Sync(), w.Close())
}

// remove removes a file that may be missing.
func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
