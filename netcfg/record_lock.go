//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package netcfg

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file for as long as it is open. The kernel takes the lock from
// a process that dies.
func lockFile(f *os.File) error { return flock(f, unix.LOCK_EX) }

// tryLock is the same, unless somebody has the lock.
func tryLock(f *os.File) (free bool, err error) {
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
