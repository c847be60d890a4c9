package tun

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// cloneDevice is the file that makes a tunnel interface each time that it is
// opened. It is a variable for the tests.
var cloneDevice = "/dev/net/tun"

// features of the interface: IP packets without anything in front of them.
// IFF_VNET_HDR would go here, and TUNSETOFFLOAD behind TUNSETIFF.
const features = unix.IFF_TUN | unix.IFF_NO_PI

func open(ctx context.Context, name string, mtu int) (Device, error) {
	// Not blocking, so that the poller of the runtime does the waiting, and
	// deadlines and Close work.
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err)
	}
	d := &device{}
	if err := d.configure(ctx, fd, name, mtu); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// The poller takes the descriptor only now: before the interface exists,
	// polling it is an error.
	if err := d.start(os.NewFile(uintptr(fd), cloneDevice)); err != nil {
		return nil, fmt.Errorf("interface %s: %w", d.name, err)
	}
	return d, nil
}

// configure turns the descriptor into an interface.
func (d *device) configure(ctx context.Context, fd int, name string, mtu int) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	ifr.SetUint16(features)
	if err := retryBusy(ctx, func() error { return unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr) }); err != nil {
		return attachError(name, err)
	}
	d.name = ifr.Name()
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return fmt.Errorf("interface %s: read its flags: %w", d.name, err)
	}
	return d.setMTU(mtu, ifr.Uint16()&unix.IFF_PERSIST != 0)
}

// setMTU sets the MTU unless it is right already, as it may be where an
// interface was made for a user who may not change it. For an interface that
// outlives us it prepares what Close puts the MTU back with: a socket, since
// an interface is looked up in the network namespace of a socket, and Close
// may run in another one.
func (d *device) setMTU(mtu int, restore bool) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("interface %s: socket: %w", d.name, err)
	}
	before, err := ioctlMTU(s, unix.SIOCGIFMTU, d.name, 0)
	if err == nil && before != mtu {
		_, err = ioctlMTU(s, unix.SIOCSIFMTU, d.name, mtu)
	}
	if err != nil {
		unix.Close(s)
		return fmt.Errorf("interface %s: set mtu %d: %w", d.name, mtu, err)
	}
	if !restore || before == mtu {
		return unix.Close(s)
	}
	d.restore = func() error {
		defer unix.Close(s)
		_, err := ioctlMTU(s, unix.SIOCSIFMTU, d.name, before)
		if errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		return err
	}
	return nil
}

// ioctlMTU reads or sets the MTU of an interface.
func ioctlMTU(socket int, request uint, name string, mtu int) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	ifr.SetUint32(uint32(mtu))
	err = unix.IoctlIfreq(socket, request, ifr)
	return int(ifr.Uint32()), err
}

// giveDevice is what the operator of a container can do.
const giveDevice = "give the container the device (--device /dev/net/tun; " +
	"in Kubernetes a volume: hostPath: {path: /dev/net/tun, type: CharDevice})"

// openError explains why the clone device cannot be opened.
func openError(err error) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		err = fmt.Errorf("the tun driver is missing: load it (modprobe tun), or %s: %w", giveDevice, err)
	case errors.Is(err, os.ErrPermission):
		err = fmt.Errorf("run as root, or %s: %w", giveDevice, err)
	}
	return fmt.Errorf("open %s: %w", cloneDevice, err)
}

// attachError explains why an interface cannot be made or taken.
func attachError(name string, err error) error {
	if name == "" {
		name = Auto
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("interface %s is in use by another program: %w", name, err)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("interface %s exists already and is not a plain tun interface: choose another name: %w", name, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("interface %s: run as root, or with CAP_NET_ADMIN (in a container: --cap-add=NET_ADMIN; in Kubernetes: "+
			"securityContext: {capabilities: {add: [NET_ADMIN]}}): %w", name, err)
	}
	return fmt.Errorf("interface %s: %w", name, err)
}
