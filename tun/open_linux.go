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

// The features of the interface: IP packets without anything in front of them,
// or with a struct virtio_net_hdr.
const (
	plain   = unix.IFF_TUN | unix.IFF_NO_PI
	offload = plain | unix.IFF_VNET_HDR
)

// readOffloads are what may be left to do to a packet that is read: any
// checksum, and the segmentation of TCP. That of UDP (TUN_F_USO4, TUN_F_USO6)
// has corrupted packets in several releases of the kernel.
const readOffloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6

func open(ctx context.Context, name string, mtu int, o options) (Device, error) {
	if !o.offload {
		return openWith(ctx, name, mtu, plain)
	}
	if exists(name) {
		d, err := openWith(ctx, name, mtu, plain)
		if err != nil {
			return nil, err
		}
		if flags, _ := d.attached(); flags&unix.IFF_PERSIST != 0 {
			o.refused(fmt.Errorf("interface %s was made in advance, and would keep them", name))
			return d, nil
		}
		// It was a predecessor's, which has ended meanwhile.
		if err := d.Close(); err != nil {
			return nil, err
		}
	}
	d, err := openWith(ctx, name, mtu, offload)
	if errors.Is(err, unix.EINVAL) { // from what only looks like Linux
		d, err = openWith(ctx, name, mtu, plain)
	}
	if err != nil {
		return nil, err
	}
	if flags, _ := d.attached(); flags&unix.IFF_VNET_HDR == 0 {
		o.refused(fmt.Errorf("interface %s: the kernel has none", d.name))
		return d, nil
	}
	d.offload(o.refused)
	return d, nil
}

// offloadQueue is how many packets may wait in the interface to be read. By
// default, 500 do (TUN_READQ_SIZE in drivers/net/tun.c), and of 64 KiB each they
// are more than a connection's window, so that all others wait behind it: a ping
// beside a download took 60 to 70 ms. With 50 it took 20 to 30 ms, about what it
// takes without offloads. It is more than the 45 packets that the largest one of
// UDP is cut into on its way, but bursts of small packets find less room.
const offloadQueue = 50

// exists reports whether there is an interface of a name, of whatever kind.
func exists(name string) bool {
	if name == "" {
		return false
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(s)
	_, err = ioctlInt(s, unix.SIOCGIFMTU, name, 0)
	return err == nil
}

// offload makes the device do what the kernel leaves to it. Where the kernel
// refuses to leave something, there is nothing to do.
func (d *device) offload(refused func(error)) {
	d.read.frame, d.read.split = make([]byte, maxFrame), &splitter{}
	d.write.merge = newCoalescer(func(err error) {
		refused(fmt.Errorf("interface %s: large writes: %w", d.name, err))
	})
	var err error
	d.raw.Control(func(fd uintptr) { err = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, readOffloads) })
	if err == nil {
		err = d.setQueue(offloadQueue)
	}
	if err != nil {
		refused(fmt.Errorf("interface %s: large reads: %w", d.name, err))
	}
}

// setQueue sets how many packets may wait to be read.
func (d *device) setQueue(packets int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	_, err = ioctlInt(s, unix.SIOCSIFTXQLEN, d.name, packets)
	return err
}

func openWith(ctx context.Context, name string, mtu int, features uint16) (*device, error) {
	// Not blocking, so that the poller of the runtime does the waiting, and
	// deadlines and Close work.
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(err)
	}
	d := &device{}
	if err := d.configure(ctx, fd, name, mtu, features); err != nil {
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
func (d *device) configure(ctx context.Context, fd int, name string, mtu int, features uint16) error {
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
	before, err := ioctlInt(s, unix.SIOCGIFMTU, d.name, 0)
	if err == nil && before != mtu {
		_, err = ioctlInt(s, unix.SIOCSIFMTU, d.name, mtu)
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
		_, err := ioctlInt(s, unix.SIOCSIFMTU, d.name, before)
		if errors.Is(err, unix.ENODEV) {
			return nil // removed meanwhile
		}
		return err
	}
	return nil
}

// ioctlInt reads or sets a number of an interface, such as its MTU.
func ioctlInt(socket int, request uint, name string, value int) (int, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	ifr.SetUint32(uint32(value))
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
