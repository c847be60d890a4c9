//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package tun

import "golang.org/x/sys/unix"

// notReady is the error of a read while the interface has no address: tun(4)
// of NetBSD, and of FreeBSD and DragonFly in earlier releases. (An EIO means
// that the interface is gone: it is that of a revoked descriptor on OpenBSD.)
const notReady = unix.EHOSTDOWN

// removed tells whether the descriptor has lost its interface. On NetBSD a read
// that waits does not notice, since the driver's filter does not report the
// end; the next write does. On FreeBSD the interface stays until Close.
func (d *device) removed() bool {
	_, there, err := mtuOf(d.name)
	return err == nil && !there
}
