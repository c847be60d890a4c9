package tun

import (
	"context"
	"errors"
	"runtime"
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

// Auto is the name that lets the kernel choose one.
const Auto = "auto"

// Option changes how Open opens an interface.
type Option func(*options)

type options struct {
	offload bool
	refused func(error)
}

// Offload lets the kernel leave to the device what it leaves to good network
// cards: a large packet of TCP is one system call, and is cut into packets of
// the MTU for ReadBatch, and made of such for WriteBatch. Only Linux does that.
// What a kernel refuses, at once or later, the device does without, and calls
// the function: once for reads and once for writes at most.
//
// An interface that was made in advance is spared: it would keep the offloads,
// and its next user might not know them.
func Offload(refused func(error)) Option {
	return func(o *options) { o.offload, o.refused = true, refused }
}

// Open makes a tunnel interface, or takes one that was made in advance, and
// sets its MTU in bytes. The interface has no address, and is down but on macOS
// and OpenBSD, whose kernels bring it up with the first open. The name "auto",
// or none, means the first free of tun0, tun1…; on macOS of utun0, utun1…
//
// Where another program has the interface, perhaps a predecessor that is
// about to end, Open tries again for three seconds or until the context ends.
// Errors say what to do; they wrap that of the system, such as
// [os.ErrNotExist] and [os.ErrPermission].
func Open(ctx context.Context, name string, mtu int, opts ...Option) (Device, error) {
	if name == Auto {
		name = ""
	}
	if name != "" {
		if err := CheckName(name); err != nil {
			return nil, err
		}
	}
	if err := checkMTU(runtime.GOOS, mtu); err != nil {
		return nil, err
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	d, err := open(ctx, name, mtu, o)
	if err != nil {
		return nil, err
	}
	return d, nil
}
