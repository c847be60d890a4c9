//go:build dragonfly || freebsd || netbsd || openbsd

package tun

import "golang.org/x/sys/unix"

// attach opens the device file of an interface, which makes the interface. It
// can be opened once at a time.
func attach(name string) (fd int, err error) {
	return unix.Open("/dev/"+name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
}
