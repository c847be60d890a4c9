package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// loopback runs a server on a port of the loopback interface.
func loopback(t *testing.T, cfg Config, port uint16) (addr netip.AddrPort, stop func()) {
	t.Helper()
	l, err := Listen(t.Context(), cfg, "127.0.0.1", port)
	if err != nil {
		t.Fatal(err)
	}
	addr = netip.MustParseAddrPort(l.Addr().String())
	return addr, run(t, func(ctx context.Context) error { return Serve(ctx, cfg, l) })
}

// Whole tunnels over real TCP, packets of many sizes both ways at once, a
// restart of the server in the middle.
func TestTunnel(t *testing.T) {
	serverCfg, serverDevice, serverLog := testConfig(t)
	clientCfg, clientDevice, clientLog := testConfig(t)
	addr, stopServer := loopback(t, serverCfg, 0)
	client := NewClient(clientCfg, addr.Addr().String(), addr.Port(), 0)
	stopClient := run(t, client.Run)
	defer stopClient()

	for round := range 2 {
		clientLog.wait(t, "Connected")
		serverLog.wait(t, "Session established")
		var packets [][]byte
		for size := 20; size <= testMTU; size += 1 + size/40 {
			packets = append(packets, ipv4(size, uint32(size)))
		}
		packets = append(packets, ipv4(testMTU, 1))
		for range 3 {
			for _, p := range packets {
				clientDevice.fromHost <- p
				serverDevice.fromHost <- p
			}
			for _, p := range packets {
				serverDevice.want(t, p)
				clientDevice.want(t, p)
			}
		}
		stopServer()
		serverLog.wait(t, "Client disconnected")
		clientLog.wait(t, "session ended")
		if round == 0 {
			_, stopServer = loopback(t, serverCfg, addr.Port())
		}
	}
}

// Why a client is not let in is said on both sides.
func TestRefusals(t *testing.T) {
	const now = 1_790_000_000 // in September 2026
	at := func(unix int64) func() time.Time { return func() time.Time { return time.Unix(unix, 0) } }
	for _, tt := range []struct {
		name           string
		mend           func(client, server *Config)
		client, server string
	}{
		{"wrong key", func(c, _ *Config) { c.Key[31] ^= 1 }, "closed the connection without an answer", ErrWrongKey.Error()},
		{"client ahead", func(c, _ *Config) { c.Now = at(now + 10800) }, "the clocks are more than 2 h apart",
			"the client's clock is 10800 s ahead of ours; check the clock (NTP) there"},
		{"client behind", func(c, _ *Config) { c.Now = at(now - 10800) }, "the clocks are more than 2 h apart",
			"the client's clock is 10800 s behind ours; check the clock (NTP) there"},
		{"client in 1970", func(c, _ *Config) { c.Now = at(5) }, "our own clock is wrong: it says 1970-01-01 00:00:05",
			"the client's clock is 1789999995 s behind ours; check the clock (NTP) there"},
		{"server in 1970", func(_, s *Config) { s.Now = at(5) }, "the clocks are more than 2 h apart",
			"our own clock is wrong: it says 1970-01-01 00:00:05; set it (NTP) and the client, 1789999995 s away, may connect"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // the server takes its time to say nothing
			serverCfg, _, serverLog := testConfig(t)
			clientCfg, _, clientLog := testConfig(t)
			serverCfg.Now, clientCfg.Now = at(now), at(now)
			tt.mend(&clientCfg, &serverCfg)
			addr, stop := loopback(t, serverCfg, 0)
			defer stop()
			err := NewClient(clientCfg, addr.Addr().String(), addr.Port(), 1).Run(t.Context())
			if !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), tt.client) {
				t.Errorf("the client says %q, want %q", err, tt.client)
			}
			clientLog.wait(t, "no answer yet")
			if reason := cause(serverLog.wait(t, "handshake failed")); reason.Error() != tt.server {
				t.Errorf("the server says %q, want %q", reason, tt.server)
			}
		})
	}
}

// freePort is a port that nobody listens on.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestLimit(t *testing.T) {
	cfg, _, _ := testConfig(t)
	err := NewClient(cfg, "127.0.0.1", freePort(t), 3).Run(t.Context())
	gaveUp := (*GaveUpError)(nil)
	if !errors.As(err, &gaveUp) || gaveUp.Attempts != 3 || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Run = %v", err)
	}
}

// Wherever a client is, it stops at once.
func TestCancel(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silentPort := uint16(silent.Addr().(*net.TCPAddr).Port)
	serverCfg, _, _ := testConfig(t)
	server, stop := loopback(t, serverCfg, 0)
	defer stop()

	asked := make(chan bool, 1)
	for name, tt := range map[string]struct {
		port  uint16
		name  string
		until func(log logged) // the client is where it shall be
	}{
		"at once":           {server.Port(), "127.0.0.1", func(logged) {}},
		"while it resolves": {1, "server.example", func(logged) { <-asked }},
		"in the handshake":  {silentPort, "127.0.0.1", func(logged) { acceptOne(t, silent) }},
		"in a pause":        {freePort(t), "127.0.0.1", func(log logged) { log.wait(t, "connection failed") }},
		"in the session":    {server.Port(), "127.0.0.1", func(log logged) { log.wait(t, "Connected") }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, _, log := testConfig(t)
			client := NewClient(cfg, tt.name, tt.port, 0)
			client.resolver.lookupIP = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				asked <- true
				<-ctx.Done()
				return nil, ctx.Err()
			}
			stop := run(t, client.Run)
			tt.until(log)
			start := time.Now()
			stop()
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("takes %v to stop", took)
			}
		})
	}
}

// acceptOne waits for a connection and its hello, and says nothing.
func acceptOne(t *testing.T, l net.Listener) {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := readMessage(conn, make([]byte, helloSize)); err != nil {
		t.Fatal(err)
	}
}

func TestClientDeviceGone(t *testing.T) {
	serverCfg, _, _ := testConfig(t)
	addr, stop := loopback(t, serverCfg, 0)
	defer stop()
	cfg, device, log := testConfig(t)
	done := make(chan error)
	go func() { done <- NewClient(cfg, "127.0.0.1", addr.Port(), 0).Run(t.Context()) }()
	log.wait(t, "Connected")
	close(device.fromHost)
	if err := <-done; err == nil {
		t.Error("Run = nil without a device")
	}
}

// A changed network ends a pause, and a session only with its address.
func TestNetworkChanged(t *testing.T) {
	serverCfg, serverDevice, _ := testConfig(t)
	cfg, device, log := testConfig(t)
	client := NewClient(cfg, "127.0.0.1", freePort(t), 0)
	client.NetworkChanged() // not running: nothing to do
	stop := run(t, client.Run)
	defer stop()
	for range 5 { // the pause is more than a second by then
		log.wait(t, "connection failed")
	}
	_, stopServer := loopback(t, serverCfg, client.port)
	defer stopServer()
	client.NetworkChanged()
	log.wait(t, "connecting again")
	log.wait(t, "Connected")

	client.NetworkChanged() // the address is still there
	device.fromHost <- ipv4(99, 1)
	serverDevice.want(t, ipv4(99, 1))
}

// Somebody sets a clock while a session is up: nothing happens to it.
func TestClockChanged(t *testing.T) {
	serverCfg, serverDevice, _ := testConfig(t)
	cfg, device, log := testConfig(t)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	serverCfg.Now, cfg.Now = now, now
	addr, stopServer := loopback(t, serverCfg, 0)
	defer stopServer()
	client := NewClient(cfg, "127.0.0.1", addr.Port(), 0)
	defer run(t, client.Run)()
	log.wait(t, "Connected")
	for i, change := range []time.Duration{24 * time.Hour, -48 * time.Hour, 0} {
		ahead.Store(int64(change))
		device.fromHost <- ipv4(99, uint32(i))
		serverDevice.want(t, ipv4(99, uint32(i)))
		client.Reconnect() // and the next one knows the new time
		log.wait(t, "Connected")
	}
}

func TestMoved(t *testing.T) {
	client := NewClient(Config{}, "", 0, 0)
	server := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}
	for path, want := range map[string]bool{"127.0.0.1": false, "127.0.0.2": true, "": true} {
		client.path = path
		if got := client.moved(server); got != want {
			t.Errorf("from %q: moved = %v", path, got)
		}
	}
	client.cfg.Path = func(netip.Addr) (string, error) { return "", syscall.ENETUNREACH }
	if client.moved(server) {
		t.Error("a connection counts as moved while there is no way to the server")
	}
}

func TestResolve(t *testing.T) {
	cfg, _, log := testConfig(t)
	client := NewClient(cfg, "", 0, 0)
	answers := func(addrs string, err error) func(context.Context, string, string) ([]netip.Addr, error) {
		return func(context.Context, string, string) ([]netip.Addr, error) {
			if addrs == "" {
				return nil, err
			}
			return []netip.Addr{netip.MustParseAddr(addrs)}, err
		}
	}
	broken := errors.New("no such host")
	for _, tt := range []struct {
		server string
		answer string
		want   string
		warned bool
	}{
		{"192.0.2.1", "", "[192.0.2.1]", false},
		{"2001:db8::1", "", "[2001:db8::1]", false},
		{"[2001:db8::1]", "", "[2001:db8::1]", false},
		{"::ffff:192.0.2.1", "", "[192.0.2.1]", false},
		{"server.example", "", "[]", false},
		{"server.example", "::ffff:192.0.2.2", "[192.0.2.2]", false},
		{"server.example", "", "[192.0.2.2]", true},
		{"server.example", "192.0.2.3", "[192.0.2.3]", false},
		{"server.example", "", "[192.0.2.3]", true},
	} {
		client.server = tt.server
		client.resolver.lookupIP = answers(tt.answer, nil)
		if tt.answer == "" {
			client.resolver.lookupIP = answers("", broken)
		}
		got, err := client.Resolve(t.Context())
		if fmt.Sprint(got) != tt.want || (tt.want == "[]") != errors.Is(err, broken) {
			t.Errorf("%s: %v, %v; want %v", tt.server, got, err, tt.want)
		}
		if warned := len(log) > 0; warned != tt.warned {
			t.Errorf("%s: warned %v, want %v", tt.server, warned, tt.warned)
		} else if warned {
			if r := <-log; r.Level != slog.LevelWarn {
				t.Errorf("%s: %v", tt.server, r)
			}
		}
	}
}

// With several addresses, those that do not answer are passed over.
func TestNextAddress(t *testing.T) {
	serverCfg, _, _ := testConfig(t)
	addr, stop := loopback(t, serverCfg, 0)
	defer stop()
	cfg, _, log := testConfig(t)
	client := NewClient(cfg, "server.example", addr.Port(), 1)
	client.resolver.lookupIP = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.2"), addr.Addr()}, nil
	}
	defer run(t, client.Run)()
	log.wait(t, "Connected")
}

func TestBackoff(t *testing.T) {
	var b backoff
	within := func(refused bool, most time.Duration) {
		t.Helper()
		if got := b.next(refused); got > most || got <= most*2/3-1 {
			t.Errorf("pause %v, want up to %v", got, most)
		}
	}
	for _, most := range []int{100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000} {
		within(false, time.Duration(most)*time.Millisecond)
	}
	b.reset()
	within(false, 100*time.Millisecond)
	within(true, time.Second)
	within(true, 2*time.Second)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		sleep(ctx, time.Hour)
		if time.Since(start) != time.Second {
			t.Error("a pause outlasts its context")
		}
	})
}

// A client says where it is about to connect, so that a way there can be made:
// here, a server to connect to.
func TestResolved(t *testing.T) {
	serverCfg, _, serverLog := testConfig(t)
	clientCfg, _, _ := testConfig(t)
	free, err := Listen(t.Context(), serverCfg, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	stopServer := func() {}
	clientCfg.Resolved = func(servers []netip.Addr) {
		if len(servers) != 1 || servers[0] != addr.Addr() {
			t.Errorf("the server is at %v, want %v", servers, addr.Addr())
		}
		clientCfg.Resolved = nil
		_, stopServer = loopback(t, serverCfg, addr.Port())
	}
	client := NewClient(clientCfg, addr.Addr().String(), addr.Port(), 1)
	stopClient := run(t, client.Run)
	serverLog.wait(t, "Session established")
	stopClient()
	stopServer()
}
