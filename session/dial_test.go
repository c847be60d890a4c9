package session

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func addrs(list string) (all []netip.Addr) {
	for s := range strings.FieldsSeq(list) {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestInTurn(t *testing.T) {
	for _, tt := range []struct{ addrs, worked, want string }{
		{"192.0.2.1", "", "192.0.2.1"},
		{"192.0.2.1 192.0.2.2", "", "192.0.2.1 192.0.2.2"},
		{"2001:db8::1 2001:db8::2 2001:db8::3 192.0.2.1 192.0.2.2", "", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 2001:db8::3"},
		{"192.0.2.1 192.0.2.2 2001:db8::1", "", "192.0.2.1 2001:db8::1 192.0.2.2"},
		{"2001:db8::1 192.0.2.1 192.0.2.2", "192.0.2.2", "192.0.2.2 2001:db8::1 192.0.2.1"},
		{"2001:db8::1 192.0.2.1", "2001:db8::1", "2001:db8::1 192.0.2.1"},
		{"2001:db8::1 192.0.2.1", "192.0.2.9", "2001:db8::1 192.0.2.1"},
	} {
		var worked netip.Addr
		if tt.worked != "" {
			worked = netip.MustParseAddr(tt.worked)
		}
		if got := inTurn(addrs(tt.addrs), worked); !slices.Equal(got, addrs(tt.want)) {
			t.Errorf("%s, of which %q worked: %v, want %s", tt.addrs, tt.worked, got, tt.want)
		}
	}
}

// What happens to one address is nothing to the others: the first that answers
// is taken, in the shortest time that there is.
func TestDialFirst(t *testing.T) {
	const never = time.Hour
	refused := errors.New("refused")
	type behaviour struct {
		after time.Duration
		err   error
	}
	ok := func(after time.Duration) behaviour { return behaviour{after, nil} }
	no := func(after time.Duration) behaviour { return behaviour{after, refused} }
	for _, tt := range []struct {
		name  string
		addrs []behaviour
		want  int // the address that is connected to; -1 is none
		after time.Duration
	}{
		{"one", []behaviour{ok(50 * time.Millisecond)}, 0, 50 * time.Millisecond},
		{"the first, slow", []behaviour{ok(300 * time.Millisecond), ok(100 * time.Millisecond)}, 0, 300 * time.Millisecond},
		{"the first says nothing", []behaviour{ok(never), ok(20 * time.Millisecond)}, 1, dialDelay + 20*time.Millisecond},
		{"the first refuses", []behaviour{no(5 * time.Millisecond), ok(20 * time.Millisecond)}, 1, 25 * time.Millisecond},
		{"only the last", []behaviour{ok(never), no(0), ok(never), ok(time.Millisecond)}, 3, 2*dialDelay + time.Millisecond},
		{"the first, after the second was refused", []behaviour{ok(time.Second), no(0)}, 0, time.Second},
		{"none", []behaviour{no(0), no(time.Millisecond)}, -1, time.Millisecond},
		{"nobody says anything", []behaviour{ok(never), ok(never)}, -1, dialTimeout},
		{"many that say nothing", slices.Repeat([]behaviour{ok(never)}, 100), -1, dialTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			var targets []netip.AddrPort
			for i := range tt.addrs {
				targets = append(targets, netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprint("192.0.2.", i)), 443))
			}
			opened := 0
			start := time.Now()
			conn, addr, err := dialFirst(t.Context(), targets, func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				how := tt.addrs[slices.Index(targets, to)]
				timer := time.NewTimer(how.after)
				defer timer.Stop()
				select {
				case <-ctx.Done():
					return nil, ctx.Err()
				case <-timer.C:
				}
				if how.err != nil {
					return nil, how.err
				}
				opened++
				near, far := net.Pipe()
				far.Close()
				return near, nil
			})
			if took := time.Since(start); took != tt.after {
				t.Errorf("%s: takes %v, want %v", tt.name, took, tt.after)
			}
			switch {
			case tt.want < 0 && (conn != nil || err == nil):
				t.Errorf("%s: %v, %v", tt.name, conn, err)
			case tt.want >= 0 && (conn == nil || err != nil || addr != targets[tt.want]):
				t.Errorf("%s: %v, %v, want %v", tt.name, addr, err, targets[tt.want])
			}
			if opened > 1 {
				t.Errorf("%s: %d connections are made", tt.name, opened)
			}
		})
	}
}

// The address that worked last goes first, until it works no more; and an
// address that accepts and does not answer is passed over.
func TestPreferredAddress(t *testing.T) {
	serverCfg, _, _ := testConfig(t)
	cfg, _, log := testConfig(t)
	l, err := Listen(t.Context(), serverCfg, "127.0.0.2", 0)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	stop := run(t, func(ctx context.Context) error { return Serve(ctx, serverCfg, l) })
	mute, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	go func() { // closes each connection without an answer
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			readMessage(conn, make([]byte, helloSize))
			conn.Close()
		}
	}()
	client := NewClient(cfg, "server.example", port, 0)
	client.resolver.lookupIP = func(context.Context, string, string) ([]netip.Addr, error) {
		return addrs("127.0.0.1 127.0.0.2"), nil
	}
	defer run(t, client.Run)()
	log.wait(t, "trying the next address")
	log.wait(t, "Connected")
	client.Reconnect()
	log.wait(t, "session ended")
	for r := range log {
		if r.Message == "trying the next address" {
			t.Error("the address that did not work goes first")
		}
		if r.Message == "Connected" {
			break
		}
	}

	mute.Close()
	defer stop()
	other, err := Listen(t.Context(), serverCfg, "127.0.0.1", port)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	serverCfg.Device = newDevice()
	serverCfg.Status = nil
	defer run(t, func(ctx context.Context) error { return Serve(ctx, serverCfg, other) })()
	log.wait(t, "session ended")
	log.wait(t, "Connected")
}
