package tun

import "golang.org/x/sys/unix"

// notReady is the error of a read while the interface is down.
const notReady = unix.EIO

// removed tells whether the descriptor has lost its interface. Reads and
// writes fail with EBADFD then, but the poller may notice first, and has no
// error that says so.
func (d *device) removed() bool {
	_, err := d.attached()
	return err == unix.EBADFD
}

// attached returns the flags of the interface that the descriptor has.
func (d *device) attached() (flags uint16, err error) {
	d.raw.Control(func(fd uintptr) {
		ifr, _ := unix.NewIfreq("")
		err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ifr)
		flags = ifr.Uint16()
	})
	return flags, err
}
