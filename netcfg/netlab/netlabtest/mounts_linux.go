package netlabtest

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Mounts gives the test's goroutine mounts of its own, in which what it mounts
// is seen by nobody else. They are gone with its thread, which ends with the
// goroutine.
func Mounts(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // for ever
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		Skip(t, "new mount namespace: "+err.Error())
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
}
