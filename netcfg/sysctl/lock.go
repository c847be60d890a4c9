//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package sysctl

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// lock makes the directory and locks it, so that the directory itself is the
// lock and no other file is needed. The unlock removes it if it is empty.
func (s *Store) lock() (unlock func(), err error) {
	if s.dir == "" {
		return func() {}, nil
	}
	for {
		if err := os.MkdirAll(s.dir, 0o755); err != nil {
			if unwritable(err) {
				return func() {}, nil
			}
			return nil, err
		}
		d, err := os.Open(s.dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed by another process as it left
		}
		if err != nil {
			if unwritable(err) {
				return func() {}, nil
			}
			return nil, err
		}
		if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
			d.Close()
			return nil, &os.PathError{Op: "lock", Path: s.dir, Err: err}
		}
		// What we have locked may have been removed, and made anew, meanwhile.
		mine, err1 := d.Stat()
		there, err2 := os.Stat(s.dir)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return func() {
				os.Remove(s.dir) // fails, as it should, while a file is in it
				d.Close()
			}, nil
		}
		d.Close()
	}
}
