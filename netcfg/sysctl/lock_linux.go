package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// unwritable reports whether an error says that this place is not for us to
// write: a read-only file system, or not our own directory.
func unwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// Lasts returns an error if former values cannot be kept in a directory, which
// need not exist yet, and so are lost when the process is killed.
func Lasts(dir string) error {
	err := unix.Access(dir, unix.W_OK)
	if err == unix.ENOENT {
		dir = filepath.Dir(dir)
		err = unix.Access(dir, unix.W_OK)
	}
	if err != nil {
		return &os.PathError{Op: "write to", Path: dir, Err: err}
	}
	return nil
}

// namespace is a name for the network namespace of the calling thread. The
// cookie (SO_NETNS_COOKIE, since Linux 5.14) is never used again while the
// machine is up; the inode number, for older kernels, may be.
func namespace() string {
	if fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			return fmt.Sprintf("%d", cookie)
		}
	}
	var st unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &st) == nil {
		return fmt.Sprintf("inode-%d", st.Ino)
	}
	return "unknown"
}

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
