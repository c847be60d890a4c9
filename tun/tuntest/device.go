// Package tuntest has a tunnel interface in memory, so that whole sessions
// run in tests without privileges. The test takes the place of the kernel.
package tuntest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"dsvpn/tun"
)

// Device is a [tun.Device] whose other side is the test. Both sides may be
// used from several goroutines. It keeps any number of packets, so neither
// side ever waits for the other to take some.
type Device struct {
	mtu int

	mu       sync.Mutex
	changed  *sync.Cond // on everything below
	outbound [][]byte   // from the test, for ReadBatch
	inbound  [][]byte   // from WriteBatch, for the test
	gone     error      // why the device no longer works
	deadline time.Time
	timer    *time.Timer
	dropped  uint64
}

var _ tun.Device = (*Device)(nil)

// New returns a device for packets of up to mtu bytes.
func New(mtu int) *Device {
	d := &Device{mtu: mtu}
	d.changed = sync.NewCond(&d.mu)
	return d
}

// Inject hands packets to ReadBatch, as a kernel does that routes them into
// the interface. It panics at packets that are longer than the MTU, since no
// kernel sends these. On a closed device it does nothing.
func (d *Device) Inject(packets ...[]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range packets {
		if len(p) > d.mtu {
			panic(fmt.Sprintf("tuntest: packet of %d bytes, the MTU is %d", len(p), d.mtu))
		}
		d.outbound = append(d.outbound, slices.Clone(p))
	}
	d.changed.Broadcast()
}

// Read returns the next packet that was written to the device, and waits for
// it until the context ends. What was written before Close can still be read;
// then the error is [os.ErrClosed].
func (d *Device) Read(ctx context.Context) ([]byte, error) {
	defer context.AfterFunc(ctx, d.wake)()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.inbound) == 0 {
		if d.gone != nil {
			return nil, d.gone
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		d.changed.Wait()
	}
	p := d.inbound[0]
	d.inbound = d.inbound[1:]
	return p, nil
}

// Remove makes the device fail with [tun.ErrRemoved], as when somebody has
// deleted the interface.
func (d *Device) Remove() { d.end(tun.ErrRemoved) }

// Name returns a name that no interface has.
func (d *Device) Name() string { return "tuntest" }

// ReadBatch is that of [tun.Device].
func (d *Device) ReadBatch(bufs [][]byte, sizes []int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.gone != nil:
			return 0, d.fail(d.gone)
		case !d.deadline.IsZero() && !time.Now().Before(d.deadline):
			return 0, d.fail(os.ErrDeadlineExceeded)
		case len(d.outbound) > 0:
			n := min(len(bufs), len(sizes), len(d.outbound))
			for i, p := range d.outbound[:n] {
				sizes[i] = copy(bufs[i], p)
			}
			d.outbound = d.outbound[n:]
			return n, nil
		}
		d.changed.Wait()
	}
}

// WriteBatch is that of [tun.Device]. Like a kernel it drops what is neither
// IPv4 nor IPv6 by its first four bits.
func (d *Device) WriteBatch(packets [][]byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone != nil {
		return d.fail(d.gone)
	}
	for _, p := range packets {
		if len(p) == 0 || p[0]>>4 != 4 && p[0]>>4 != 6 {
			d.dropped++
			continue
		}
		d.inbound = append(d.inbound, slices.Clone(p))
	}
	d.changed.Broadcast()
	return nil
}

// SetReadDeadline is that of [tun.Device].
func (d *Device) SetReadDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone != nil {
		return d.fail(d.gone)
	}
	d.deadline = t
	if d.timer != nil {
		d.timer.Stop()
	}
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), d.wake)
	}
	return nil
}

// Dropped is that of [tun.Device].
func (d *Device) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

// Close is that of [tun.Device].
func (d *Device) Close() error {
	d.end(os.ErrClosed)
	return nil
}

// end makes every call fail from now on. Close has the last word.
func (d *Device) end(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone != os.ErrClosed {
		d.gone = why
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.changed.Broadcast()
}

// wake lets those who wait look at the clock or at their context.
func (d *Device) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed.Broadcast()
}

func (d *Device) fail(err error) error {
	if errors.Is(err, tun.ErrRemoved) {
		return fmt.Errorf("interface %s %w", d.Name(), err)
	}
	return fmt.Errorf("interface %s: %w", d.Name(), err)
}
