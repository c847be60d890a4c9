//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tun

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// device is a tunnel interface, as a descriptor that the runtime polls: with
// epoll on Linux, elsewhere with kqueue, which the tun drivers of all BSDs and
// the control sockets of macOS have filters for (tunkqfilter in their if_tun.c,
// soo_kqfilter in xnu).
type device struct {
	name    string
	restore func() error // puts the MTU back, of an interface that stays
	destroy func() error // removes the interface, where closing does not

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
	frame    []byte    // what is read into first, where packets have a header
	split    *splitter // makes packets of frames that Linux has offloads for
}

// writeCall is the same for WriteBatch.
type writeCall struct {
	sync.Mutex
	callback func(fd uintptr) (done bool)
	packets  [][]byte // not yet written
	err      error
	frame    []byte     // what is written, where packets have a header
	merge    *coalescer // makes frames that Linux has offloads for
}

// frameHeaders makes the device put headers in front of what it writes, and
// expect them in front of what it reads. Packets are copied for that: the copy
// is short beside the system call, and needs neither room around the caller's
// packets nor readv and writev, which not every system offers to Go.
func (d *device) frameHeaders() {
	d.read.frame = make([]byte, headerLen+MaxMTU)
	d.write.frame = make([]byte, headerLen+MaxMTU)
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
		if r.split != nil && r.split.more() {
			r.sizes[r.n] = r.split.segment(r.bufs[r.n])
			r.n++
			continue
		}
		size, ok, err := r.packet(int(fd), r.bufs[r.n])
		switch err {
		case nil:
			if ok {
				r.sizes[r.n] = size
				r.n++
			}
		case unix.EINTR:
		case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM, notReady:
			// None there, or a state that passes: in either case the next
			// packet wakes us, and trying at once would be spinning.
			return r.n > 0
		default:
			r.err = err
			return true
		}
	}
	return true
}

// packet reads one packet. What arrives without a header that we know is none.
func (r *readCall) packet(fd int, buf []byte) (size int, ok bool, err error) {
	if r.frame == nil {
		size, err = unix.Read(fd, buf)
		return size, true, err
	}
	n, err := unix.Read(fd, r.frame)
	switch {
	case err != nil:
		return 0, false, err
	case n == 0: // so ends a control socket of macOS
		return 0, false, io.EOF
	}
	if r.split != nil {
		size, ok = r.split.unpack(r.frame[:n], buf)
		return size, ok, nil
	}
	packet, ok := stripHeader(r.frame[:n])
	return copy(buf, packet), ok, nil
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

// writeAll writes what is left of the batch. It returns false to be called
// again when the poller has seen room for more.
func (d *device) writeAll(fd uintptr) bool {
	w := &d.write
	for len(w.packets) > 0 {
		n, err := w.next(int(fd))
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case unix.EINVAL, unix.ENOBUFS, unix.ENOMEM, unix.EIO, unix.EMSGSIZE,
			unix.EAFNOSUPPORT, unix.EHOSTDOWN, unix.ENETDOWN:
			if n > 1 && (err == unix.EINVAL || err == unix.EMSGSIZE) {
				// Some kernels (of 6.1 and 6.10) say so of what is right.
				w.merge.giveUp(err)
				continue
			}
			d.dropped.Add(uint64(n))
		default:
			w.err = err
			return true
		}
		w.packets = w.packets[n:]
	}
	return true
}

// next makes one write of the first packet, or of several that can be one, and
// returns of how many. A packet that is not IP has no header, and fares as it
// does on systems without: they take it no more.
func (w *writeCall) next(fd int) (n int, err error) {
	frame, n := w.packets[0], 1
	switch {
	case w.merge != nil:
		if frame, n = w.merge.pack(w.packets); n == 0 {
			return 1, unix.EMSGSIZE
		}
	case w.frame != nil:
		var ok bool
		if frame, ok = addHeader(w.frame, frame); !ok {
			return 1, unix.EAFNOSUPPORT
		}
	}
	_, err = unix.Write(fd, frame)
	return n, err
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

func (d *device) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	var err error
	if d.restore != nil {
		err = d.restore()
	}
	err = errors.Join(err, d.file.Close())
	if d.destroy != nil {
		err = errors.Join(err, d.destroy())
	}
	if err != nil {
		return fmt.Errorf("interface %s: close: %w", d.name, err)
	}
	return nil
}
