package dns

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// holds are the locks of this process, by path. A lock says that somebody needs
// what the file says; the kernel removes it with the process.
var holds = struct {
	sync.Mutex
	files map[string]*os.File
}{files: map[string]*os.File{}}

// hold locks the file that has this path now.
func hold(path string) error {
	holds.Lock()
	defer holds.Unlock()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	// A file that is written in place is one that this process may hold already.
	if old := holds.files[path]; old != nil {
		old.Close()
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		delete(holds.files, path)
		return &os.PathError{Op: "lock", Path: path, Err: err}
	}
	holds.files[path] = f
	return nil
}

// release ends a hold, if there is one.
func release(path string) {
	holds.Lock()
	defer holds.Unlock()
	if f := holds.files[path]; f != nil {
		f.Close()
		delete(holds.files, path)
	}
}

// held reports whether anybody, this process included, holds a file.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// inUse reports whether another process than this one holds the file.
func (f file) inUse() bool {
	holds.Lock()
	mine := holds.files[f.path] != nil
	holds.Unlock()
	return !mine && held(f.path)
}
