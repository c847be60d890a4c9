package sysctl

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

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
