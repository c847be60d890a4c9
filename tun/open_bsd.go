//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package tun

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// autoUnits is how many interfaces are tried for the name "auto".
const autoUnits = 32

var driver = driverOf(runtime.GOOS)

// What becomes of an interface that we have made by opening it, when its
// descriptor is closed: afterClose of each system.
const (
	vanishes  = iota // with the last close
	stays            // until it is destroyed
	permanent        // it cannot be destroyed
)

func open(ctx context.Context, name string, mtu int, _ options) (d Device, err error) {
	if name == "" {
		return openFree(mtu)
	}
	err = retryBusy(ctx, func() error {
		d, err = openNamed(name, mtu)
		return err
	})
	return d, err
}

// openFree opens the first interface that nobody has. Those whose device file
// is missing are passed over: most systems come with a few of them only.
func openFree(mtu int) (Device, error) {
	var first error
	for unit := range autoUnits {
		d, err := openNamed(driver+strconv.Itoa(unit), mtu)
		switch {
		case err == nil:
			return d, nil
		case !errors.Is(err, unix.EBUSY) && !isMissing(err):
			return nil, err
		case first == nil:
			first = err
		}
	}
	return nil, fmt.Errorf("none of %s0 to %s%d is free: %w", driver, driver, autoUnits-1, first)
}

// openNamed opens an interface, which opening makes if it is not there.
func openNamed(name string, mtu int) (Device, error) {
	_, existed, err := mtuOf(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	fd, err := attach(name)
	if err != nil {
		return nil, attachError(name, err)
	}
	d := &device{name: name}
	if !existed && afterClose == stays {
		d.destroy = func() error { return destroy(name) }
	}
	d.frameHeaders()
	if err = d.configure(fd, mtu, existed); err != nil {
		unix.Close(fd)
	} else {
		err = d.start(os.NewFile(uintptr(fd), name))
	}
	if err != nil && d.destroy != nil {
		err = errors.Join(err, d.destroy())
	}
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	return d, nil
}

// configure prepares the descriptor of an interface, and sets the MTU, which
// is put back on one that stays when the device is closed.
func (d *device) configure(fd, mtu int, existed bool) error {
	if err := prepare(fd, existed); err != nil {
		return fmt.Errorf("set its mode: %w", err)
	}
	// By fcntl, since for NetBSD's driver it is not enough to be opened so:
	// it looks at what FIONBIO has set (tunread in if_tun.c).
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("make it not block: %w", err)
	}
	before, _, err := mtuOf(d.name)
	if err != nil || before == mtu {
		return err
	}
	if err := setMTU(d.name, mtu); err != nil {
		return fmt.Errorf("set mtu %d: %w", mtu, err)
	}
	if existed || afterClose == permanent {
		d.restore = func() error { return gone(setMTU(d.name, before)) }
	}
	return nil
}

// mtuOf returns the MTU of an interface, and whether it is there.
func mtuOf(name string) (mtu int, there bool, err error) {
	all, err := net.Interfaces()
	for _, i := range all {
		if i.Name == name {
			return i.MTU, true, nil
		}
	}
	return 0, false, err
}

func setMTU(name string, mtu int) error { return request(unix.SIOCSIFMTU, name, mtu) }

// destroy removes an interface after its descriptor is closed: FreeBSD would
// wait for that. A kernel that has removed it by itself is as good.
func destroy(name string) error { return gone(request(unix.SIOCIFDESTROY, name, 0)) }

// gone lets pass the error for an interface that is not there.
func gone(err error) error {
	if errors.Is(err, unix.ENXIO) {
		return nil
	}
	return err
}

// request makes an ioctl about an interface. IoctlSetString hands any bytes to
// the kernel, a struct too.
func request(number uint, name string, mtu int) error {
	s, err := cloexecSocket(unix.AF_INET, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	return unix.IoctlSetString(s, number, ifreq(number, name, mtu))
}

// cloexecSocket returns a datagram socket that children do not inherit. macOS
// cannot make one in one step.
func cloexecSocket(domain, proto int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	s, err := unix.Socket(domain, unix.SOCK_DGRAM, proto)
	if err == nil {
		unix.CloseOnExec(s)
	}
	return s, err
}

// isMissing tells whether there is no such device.
func isMissing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO)
}

// attachError explains why an interface cannot be made or taken.
func attachError(name string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("interface %s is in use by another program: %w", name, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("interface %s: run as root: %w", name, err)
	case isMissing(err):
		return fmt.Errorf("interface %s: there is no such device: %s: %w", name, missingHint, err)
	}
	return fmt.Errorf("interface %s: %w", name, err)
}
