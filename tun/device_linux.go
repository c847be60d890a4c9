package tun

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// device is a tunnel interface, as a descriptor that the runtime polls.
type device struct {
	name    string
	restore func() error // puts the MTU back, of an interface that stays

	file    *os.File
	raw     syscall.RawConn
	closed  atomic.Bool
	dropped atomic.Uint64

	read  readCall
	write writeCall
}

// readCall is what one ReadBatch shares with its callback. It lives in the
// device, and so does the callback, so that a call allocates nothing.
type readCall struct {
	sync.Mutex
	callback func(fd uintptr) (done bool)
	bufs     [][]byte
	sizes    []int
	n        int
	err      error
}

// writeCall is the same for WriteBatch.
type writeCall struct {
	sync.Mutex
	callback func(fd uintptr) (done bool)
	packets  [][]byte // not yet written
	err      error
}

// start hands the descriptor to the poller.
func (d *device) start(file *os.File) error {
	raw, err := file.SyscallConn()
	if err == nil {
		err = file.SetReadDeadline(time.Time{}) // fails where polling does
	}
	if err != nil {
		file.Close()
		return err
	}
	d.file, d.raw = file, raw
	d.read.callback, d.write.callback = d.readAvailable, d.writeAll
	return nil
}

func (d *device) Name() string { return d.name }

func (d *device) Dropped() uint64 { return d.dropped.Load() }

func (d *device) SetReadDeadline(t time.Time) error {
	return d.fail("set deadline", d.file.SetReadDeadline(t))
}

func (d *device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	r := &d.read
	r.Lock()
	defer r.Unlock()
	r.bufs, r.sizes, r.n, r.err = bufs[:min(len(bufs), len(sizes))], sizes, 0, nil
	err := d.raw.Read(r.callback)
	r.bufs, r.sizes = nil, nil
	if err == nil {
		err = r.err
	}
	if r.n > 0 {
		return r.n, nil // an error that lasts comes back with the next call
	}
	return 0, d.fail("read", err)
}

// readAvailable reads packets until none is there or no buffer is left. It
// returns false to be called again when the poller has seen more.
func (d *device) readAvailable(fd uintptr) bool {
	r := &d.read
	for r.n < len(r.bufs) {
		size, err := unix.Read(int(fd), r.bufs[r.n])
		switch err {
		case nil:
			r.sizes[r.n] = size
			r.n++
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, unix.EIO:
			// None there, or a shortage that passes: in either case the
			// next packet wakes us, and trying at once would be spinning.
			return r.n > 0
		default:
			r.err = err
			return true
		}
	}
	return true
}

func (d *device) WriteBatch(packets [][]byte) error {
	w := &d.write
	w.Lock()
	defer w.Unlock()
	w.packets, w.err = packets, nil
	err := d.raw.Write(w.callback)
	w.packets = nil
	if err == nil {
		err = w.err
	}
	return d.fail("write", err)
}

// writeAll writes what is left of the batch, one packet a call. It returns
// false to be called again when the poller has seen room for more.
func (d *device) writeAll(fd uintptr) bool {
	w := &d.write
	for len(w.packets) > 0 {
		_, err := unix.Write(int(fd), w.packets[0])
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case unix.EINVAL, unix.ENOBUFS, unix.ENOMEM, unix.EIO, unix.EMSGSIZE:
			d.dropped.Add(1)
		default:
			w.err = err
			return true
		}
		w.packets = w.packets[1:]
	}
	return true
}

// fail puts the errors of the system and of the poller into our words.
func (d *device) fail(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case d.closed.Load():
		return fmt.Errorf("interface %s: %w", d.name, os.ErrClosed)
	case errors.Is(err, os.ErrDeadlineExceeded):
	case d.removed():
		return fmt.Errorf("interface %s %w", d.name, ErrRemoved)
	}
	return fmt.Errorf("interface %s: %s: %w", d.name, op, err)
}

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

func (d *device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	var err error
	if d.restore != nil {
		err = d.restore()
	}
	if err := errors.Join(err, d.file.Close()); err != nil {
		return fmt.Errorf("interface %s: close: %w", d.name, err)
	}
	return nil
}
