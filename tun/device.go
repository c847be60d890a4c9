package tun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Device is a tunnel interface. Its methods may be called from several
// goroutines; reads wait for each other, and so do writes.
type Device interface {
	// Name returns the name of the interface, such as tun0.
	Name() string

	// ReadBatch waits until the kernel has packets, then reads as many as
	// are there without waiting again, one into each buffer, and sets sizes
	// to their lengths in bytes. It returns how many it has read, at least
	// one unless there is an error. A packet that is longer than its buffer
	// is cut: buffers hold the MTU of the interface. There must be at least
	// one buffer, and a size for each.
	//
	// The error is [os.ErrClosed] after Close, [os.ErrDeadlineExceeded] after
	// the deadline, and [ErrRemoved] when the interface is gone.
	ReadBatch(bufs [][]byte, sizes []int) (n int, err error)

	// WriteBatch hands packets to the kernel. A packet that it does not take,
	// because it is malformed, memory is short or the interface is down, is
	// dropped and counted, as on any wire. The errors are those of ReadBatch.
	WriteBatch(packets [][]byte) error

	// SetReadDeadline sets the time after which reads fail, also those that
	// wait already. The zero time means never.
	SetReadDeadline(time.Time) error

	// Dropped returns the number of packets that WriteBatch has dropped.
	Dropped() uint64

	// Close ends calls that wait and removes the interface, unless somebody
	// made it in advance for whoever opens it. Further calls do nothing.
	Close() error
}

// ErrRemoved tells that another program has removed the interface.
var ErrRemoved = errors.New("was removed")

// Bounds of the MTU of an interface, in bytes: those of IPv4, which the kernel
// enforces. IPv6 needs at least 1280.
const (
	MinMTU = 68
	MaxMTU = 65535
)

// Auto is the name that lets the kernel choose one.
const Auto = "auto"

// Open makes a tunnel interface, or takes one that was made in advance, and
// sets its MTU in bytes. The interface is down and has no address. The name
// "auto", or none, means the first free of tun0, tun1…
//
// Where another program has the interface, perhaps a predecessor that is
// about to end, Open tries again for three seconds or until the context ends.
// Errors say what to do; they wrap that of the system, such as
// [os.ErrNotExist] and [os.ErrPermission].
func Open(ctx context.Context, name string, mtu int) (Device, error) {
	if name == Auto {
		name = ""
	}
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	if mtu < MinMTU || mtu > MaxMTU {
		return nil, fmt.Errorf("mtu %d is out of range: %d to %d bytes", mtu, MinMTU, MaxMTU)
	}
	d, err := open(ctx, name, mtu)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// maxName is the length of the longest name of an interface in bytes:
// IFNAMSIZ less the final zero.
const maxName = 15

// CheckName tells whether an interface can have this name, by the rules of
// the Linux kernel (dev_valid_name, and those of net.ipv4.conf, which has a
// directory for each interface).
func CheckName(name string) error {
	var why string
	switch {
	case name == "":
		why = "is empty"
	case len(name) > maxName:
		why = fmt.Sprintf("has %d bytes", len(name))
	case name == "." || name == ".." || name == "all" || name == "default":
		why = "means something else to the kernel"
	case strings.Contains(name, "%"):
		why = "has a %, which makes it a pattern"
	case hasByte(name, "/:\x00"):
		why = "has a slash, a colon or a zero"
	case hasByte(name, " \t\n\v\f\r\xa0"):
		why = "has white space"
	default:
		return nil
	}
	return fmt.Errorf("interface name %q %s: it must have 1 to %d bytes, none of them a slash, a colon, a percent sign or white space", name, why, maxName)
}

// hasByte looks for bytes, not for characters, since the kernel does: to it
// every 0xa0 is a space, also as a part of "à".
func hasByte(s, bytes string) bool {
	for i := range len(s) {
		if strings.IndexByte(bytes, s[i]) >= 0 {
			return true
		}
	}
	return false
}
