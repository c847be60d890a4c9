package session

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"
)

// Device is where packets come from and go to: the tunnel interface. One
// goroutine reads while another writes; there are never two of a kind.
type Device interface {
	// ReadBatch waits for a packet and then takes all that are there, but no
	// more than len(bufs). Packet i is bufs[i][:sizes[i]].
	ReadBatch(bufs [][]byte, sizes []int) (n int, err error)

	// WriteBatch writes packets in their order. It drops a packet that the
	// system refuses; an error means that the device is gone.
	WriteBatch(packets [][]byte) error

	// SetReadDeadline makes ReadBatch, also one that waits already, return
	// [os.ErrDeadlineExceeded] from then on. The zero time removes the
	// deadline.
	SetReadDeadline(time.Time) error
}

// Config says who talks to whom, and through what.
type Config struct {
	Key    Key
	Device Device // stays open: whoever opened it closes it
	MTU    int    // largest packet of the device, in bytes, 1 to 65535

	// Mark is set (SO_MARK) on every socket, those of the name resolver
	// included, so that their packets stay outside the tunnel. 0 is none.
	// Only Linux has it; other systems ignore it.
	Mark uint32
	// NameServers are what a client asks for the name of its server. None are
	// those of the system.
	NameServers []netip.AddrPort
	// Resolved, if not nil, is called with the addresses of the server before a
	// client connects to one of them, so that the host can make ways there.
	Resolved func(servers []netip.Addr)
	// Congestion is the congestion control of the connection, such as "bbr".
	// Empty leaves it to the system, and so does one that the system lacks,
	// which is logged. Only Linux has it.
	Congestion string

	// Timeout is how long a dead path, or a peer that hangs, may go unnoticed.
	// A path that is slow, but not silent, is neither. 0 is [DefaultTimeout]. A
	// peer whose own time-out is longer may send its heartbeats more seldom,
	// every 10 s at most; its silence is noticed within twice that.
	Timeout time.Duration

	// Replays is the path of a file in which the hellos that a server has
	// accepted outlive it, so that they are refused after a restart, too.
	// Empty is none.
	Replays string

	// Path describes how packets of a client get to an address of its server,
	// in words that change when the path does: when a gateway changes, for
	// example. Nil is the source address.
	Path func(server netip.Addr) (string, error)

	// Status tells others how the session is doing. It may be nil.
	Status *Status

	Logger *slog.Logger     // nil is slog.Default
	Now    func() time.Time // nil is time.Now
	Rand   io.Reader        // nil is crypto/rand.Reader

	asleep func() time.Duration // nil is suspended
}

// complete checks a configuration and fills in its defaults.
func (cfg Config) complete() (Config, error) {
	if cfg.Device == nil {
		return cfg, errors.New("no device")
	}
	if cfg.MTU < 1 || cfg.MTU > maxPacket {
		return cfg, fmt.Errorf("MTU %d is not between 1 and %d", cfg.MTU, maxPacket)
	}
	if cfg.Status == nil {
		cfg.Status = NewStatus()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.asleep == nil {
		cfg.asleep = suspended
	}
	return cfg, nil
}
