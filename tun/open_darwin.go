package tun

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// From xnu, bsd/net/if_utun.h and bsd/sys/sys_domain.h.
const (
	utunControlName = "com.apple.net.utun_control"
	utunOptIfname   = 2
	sysprotoControl = 2
)

// The last close of the socket detaches the interface (utun_ctl_disconnect).
const afterClose = vanishes

const missingHint = "this kernel has no utun control"

// attach connects to the kernel control that makes interfaces, as its unit
// N+1: the unit 0 stands for any (utun_ctl_setup).
func attach(name string) (fd int, err error) {
	unit, err := unitOf(driver, name)
	if err != nil {
		return -1, err
	}
	fd, err = cloexecSocket(unix.AF_SYSTEM, sysprotoControl)
	if err != nil {
		return -1, err
	}
	var control unix.CtlInfo
	copy(control.Name[:], utunControlName)
	if err = unix.IoctlCtlInfo(fd, &control); err == nil {
		err = unix.Connect(fd, &unix.SockaddrCtl{ID: control.Id, Unit: uint32(unit) + 1})
	}
	var made string
	if err == nil {
		made, err = unix.GetsockoptString(fd, sysprotoControl, utunOptIfname)
	}
	if err == nil && made != name {
		err = fmt.Errorf("the kernel has made %s instead", made)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// prepare has nothing to do: packets of this driver always have a header.
func prepare(int, bool) error { return nil }
