package tun

import "golang.org/x/sys/unix"

// notReady is the error of a read while the interface is down.
const notReady = unix.EIO

// removed tells whether the descriptor has lost its interface. Reads and
// writes fail with EBADFD then, but the poller may notice first, and has no
// error that says so.
func (d *device) removed() bool {
	var err error
	d.raw.Control(func(fd uintptr) {
		ifr, _ := unix.NewIfreq("")
		err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr)
	})
	return err == unix.EBADFD
}
