package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// readBatch is how many packets are taken from the device at a time: more
// than a 64 KiB segment that the kernel hands over is cut into.
const readBatch = 128

// tunnel joins the device to the session of the moment.
type tunnel struct {
	cfg Config

	// session gets the packets from the device. One session has all of them
	// today; with several, this is the table from inner destination to
	// session. It lives in the status, so that others see it too.
	session *atomic.Pointer[Conn]

	// writing keeps a session that is being replaced and its successor from
	// writing to the device at the same time.
	writing sync.Mutex

	stop   context.CancelCauseFunc // ends the run
	reader sync.WaitGroup

	noCongestion sync.Once // the system's lack of a congestion control is logged
}

// openTunnel starts to read the device. The returned context ends with ctx,
// or when the device is gone. The caller calls close when all its sessions
// are over.
func openTunnel(ctx context.Context, cfg Config) (*tunnel, context.Context, error) {
	if err := cfg.Device.SetReadDeadline(time.Time{}); err != nil {
		return nil, nil, fmt.Errorf("device: %w", err)
	}
	ctx, stop := context.WithCancelCause(ctx)
	t := &tunnel{cfg: cfg, session: &cfg.Status.session, stop: stop}
	t.reader.Go(func() {
		if err := t.readDevice(); ctx.Err() == nil {
			t.fail(fmt.Errorf("read from device: %w", err))
		}
	})
	return t, ctx, nil
}

// close stops reading the device, which stays open, and returns why the run
// ended: nil if it was the caller's will.
func (t *tunnel) close(ctx context.Context) error {
	t.stop(nil)
	if err := t.cfg.Device.SetReadDeadline(time.Unix(1, 0)); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("device: %w", err)
	}
	t.reader.Wait()
	if f, ok := context.Cause(ctx).(failure); ok {
		return f.error
	}
	return nil
}

// failure marks an end that was not the will of the caller's context.
type failure struct{ error }

// fail ends the run with an error, if nothing else has ended it.
func (t *tunnel) fail(err error) { t.stop(failure{err}) }

// readDevice hands batches of packets to the session of the moment, until the
// device returns an error.
func (t *tunnel) readDevice() error {
	var (
		bufs    = make([][]byte, readBatch)
		sizes   = make([]int, readBatch)
		packets = make([][]byte, readBatch)
	)
	for i := range bufs {
		bufs[i] = make([]byte, t.cfg.MTU)
	}
	for {
		n, err := t.cfg.Device.ReadBatch(bufs, sizes)
		if err != nil {
			return err
		}
		c := t.session.Load()
		if c == nil {
			continue // nobody to send them to: senders see loss, as on a cut cable
		}
		for i := range n {
			packets[i] = bufs[i][:sizes[i]]
		}
		if err := c.Send(packets[:n]); err != nil {
			c.Close(err)
		}
	}
}

// receive hands packets from c to the device, starting with those that c has
// returned already, until the session ends. It returns why it did.
func (t *tunnel) receive(c *Conn, packets [][]byte) error {
	for told := false; ; {
		if c.in.known > 1 && !told {
			told = true
			t.cfg.Logger.Debug("peer sends heartbeats", "remote", c.RemoteAddr(), "every", c.in.beats[1].Round(100*time.Millisecond))
		}
		if len(packets) > 0 {
			if err := t.writeDevice(c, packets); err != nil {
				err = fmt.Errorf("write to device: %w", err)
				t.fail(err)
				return err
			}
		}
		var err error
		if packets, err = c.Receive(); err != nil {
			return err
		}
	}
}

func (t *tunnel) writeDevice(c *Conn, packets [][]byte) error {
	c.delivering.Store(c.clock())
	defer c.delivering.Store(0)
	t.writing.Lock()
	defer t.writing.Unlock()
	return t.cfg.Device.WriteBatch(packets)
}

// tune sets the socket options of a connection. One that is refused leaves a
// connection that works less well, and is logged.
func (t *tunnel) tune(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if err := tuneTCP(tcp, timingOf(t.cfg.Timeout)); err != nil {
		t.cfg.Logger.Warn("socket options refused", "remote", conn.RemoteAddr(), "err", err)
	}
	if t.cfg.Congestion == "" {
		return
	}
	if err := setCongestion(tcp, t.cfg.Congestion); err != nil {
		t.noCongestion.Do(func() {
			t.cfg.Logger.Warn("congestion control left to the system", "wanted", t.cfg.Congestion, "err", err)
		})
	}
}
