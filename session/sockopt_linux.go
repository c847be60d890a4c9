package session

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// notSentLowat keeps what is written but not yet sent small, in bytes: a
// packet that waits there can be neither overtaken nor dropped. It is enough
// to keep a fast link busy. The C program uses the same.
const notSentLowat = 128 << 10

// markControl marks a socket before it sends anything.
func markControl(mark uint32) control {
	return func(_, _ string, raw syscall.RawConn) error {
		if mark == 0 {
			return nil
		}
		return onSocket(raw, func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
				return fmt.Errorf("%w (needs CAP_NET_ADMIN)", os.NewSyscallError("set SO_MARK", err))
			}
			return nil
		})
	}
}

// listenControl marks the listening socket, from which accepted ones have
// their mark, and has the system hold back clients that say nothing: ours
// speak first.
func listenControl(mark uint32) control {
	setMark := markControl(mark)
	return func(network, address string, raw syscall.RawConn) error {
		if err := setMark(network, address, raw); err != nil {
			return err
		}
		return onSocket(raw, func(fd int) error {
			seconds := int(helloTimeout / time.Second)
			return os.NewSyscallError("set TCP_DEFER_ACCEPT",
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, seconds))
		})
	}
}

// tuneSystem sets the options that only Linux has.
func tuneSystem(conn *net.TCPConn, times timing) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return onSocket(raw, func(fd int) error {
		return errors.Join(
			userTimeout(fd, times.userTimeout),
			os.NewSyscallError("set TCP_NOTSENT_LOWAT",
				unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentLowat)))
	})
}

// userTimeout sets how long sent data may stay unacknowledged, or a peer's
// window closed, before the system ends the connection. 0 leaves it to the
// system: about a quarter of an hour, and for ever while the peer acknowledges
// the probes of its window.
func userTimeout(fd int, d time.Duration) error {
	return os.NewSyscallError("set TCP_USER_TIMEOUT",
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d/time.Millisecond)))
}

// setUserTimeout is userTimeout for a connection in use: if it fails, there is
// nothing that somebody could do.
func setUserTimeout(conn net.Conn, d time.Duration) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			onSocket(raw, func(fd int) error { return userTimeout(fd, d) })
		}
	}
}

// setCongestion chooses the congestion control of a connection.
func setCongestion(conn *net.TCPConn, name string) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return onSocket(raw, func(fd int) error {
		return os.NewSyscallError("set TCP_CONGESTION",
			unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name))
	})
}

// unacked is how much the system holds that the peer has not acknowledged, in
// bytes.
func unacked(conn net.Conn) (n int, known bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err == nil {
		err = onSocket(raw, func(fd int) (err error) {
			n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
			return err
		})
	}
	return n, err == nil
}

// suspended is how long the system has been suspended since it started. One of
// its clocks stands still then, the other does not.
func suspended() time.Duration {
	var awake, all unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &all) != nil {
		return 0
	}
	return time.Duration(all.Nano() - awake.Nano())
}

// onSocket calls f with the descriptor of a socket.
func onSocket(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}
