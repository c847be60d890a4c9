package session

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The options of both ends of a connection are what they are said to be.
func TestSocketOptions(t *testing.T) {
	serverCfg, _, _ := testConfig(t)
	l, err := Listen(t.Context(), serverCfg, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check(t, "TCP_DEFER_ACCEPT", l.(*net.TCPListener), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, func(v int) bool { return v >= 10 })

	cfg, _, log := testConfig(t)
	cfg.Congestion = "reno"
	tun, ctx, err := openTunnel(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.close(ctx)
	go func() { // the server's part of the handshake
		if conn, err := l.Accept(); err == nil {
			defer conn.Close()
			serverHandshake(conn, &serverCfg, noReplays(1))
			conn.Read(make([]byte, 1)) // until the client is through
		}
	}()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := tun.greet(ctx, dialed)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(errStopped)
	conn := c.conn.(*net.TCPConn)
	for _, o := range []struct {
		name               string
		level, option, val int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 10_000},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 131_072},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 10},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 4},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
	} {
		check(t, o.name, conn, o.level, o.option, func(v int) bool { return v == o.val })
	}
	onConn(t, conn, func(fd int) {
		if name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION); name != "reno" {
			t.Errorf("TCP_CONGESTION is %q, %v", name, err)
		}
	})

	// What the system does not have is said once.
	tun.cfg.Congestion = "nonesuch"
	tun.tune(conn)
	tun.tune(conn)
	log.wait(t, "congestion control left to the system")
	if len(log) > 0 {
		t.Errorf("logged besides: %v", (<-log).Message)
	}
}

func onConn(t *testing.T, conn syscall.Conn, f func(fd int)) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := onSocket(raw, func(fd int) error { f(fd); return nil }); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, name string, conn syscall.Conn, level, option int, ok func(int) bool) {
	t.Helper()
	onConn(t, conn, func(fd int) {
		if v, err := unix.GetsockoptInt(fd, level, option); err != nil || !ok(v) {
			t.Errorf("%s is %d, %v", name, v, err)
		}
	})
}

// A mark is on the socket before it sends anything, or nothing is sent.
func TestMark(t *testing.T) {
	l, err := Listen(t.Context(), Config{Mark: 42069}, "127.0.0.1", 0)
	if err != nil {
		if !strings.Contains(err.Error(), "CAP_NET_ADMIN") || !errors.Is(err, os.ErrPermission) {
			t.Errorf("without the right to mark: %v", err)
		}
		return
	}
	defer l.Close()
	check(t, "SO_MARK", l.(*net.TCPListener), unix.SOL_SOCKET, unix.SO_MARK, func(v int) bool { return v == 42069 })
	dialer := net.Dialer{Control: markControl(7), Timeout: time.Second}
	conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check(t, "SO_MARK", conn.(*net.TCPConn), unix.SOL_SOCKET, unix.SO_MARK, func(v int) bool { return v == 7 })
}
