package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dsvpn/session"
)

// manager plays the service manager. It returns the states that it is told.
func manager(t *testing.T) <-chan string {
	t.Helper()
	address := &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"}
	conn, err := net.ListenUnixgram(address.Net, address)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	t.Setenv("WATCHDOG_USEC", "20000")
	told := make(chan string, 1<<10)
	go func() {
		defer close(told)
		buf := make([]byte, 4096)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			told <- string(buf[:n])
		}
	}()
	return told
}

// wantTold skips to a state that starts and goes on like this.
func wantTold(t *testing.T, told <-chan string, state, status string) {
	t.Helper()
	for timeout := time.After(patience); ; {
		select {
		case got := <-told:
			if strings.HasPrefix(got, state) && strings.Contains(got, status) {
				return
			}
		case <-timeout:
			t.Fatalf("the manager is not told %s %s", state, status)
		}
	}
}

// The manager hears from both ends: a server is ready when clients may come, a
// client when it is connected.
func TestNotify(t *testing.T) {
	tr := newTestTrial(t)
	ofClient := manager(t)
	client, err := tr.start(tr.client, "connection failed", "client", tr.key(), serverIP)
	stopAtEnd(t, client, err)
	wantTold(t, ofClient, "WATCHDOG=1", "STATUS=no session")
	ofServer := manager(t)
	startServer(t, tr)
	wantTold(t, ofServer, "READY=1", "STATUS=")
	wantTold(t, ofClient, "READY=1", "STATUS=session with "+serverIP)
	wantTold(t, ofServer, "WATCHDOG=1", "STATUS=session with "+clientIP)
	check(t, client.stop(syscall.SIGTERM))
	wantTold(t, ofClient, "STOPPING=1", "")
}

// A program that does not do its work does not keep its watchdog quiet.
func TestWatchdogBarks(t *testing.T) {
	told := manager(t)
	var stuck atomic.Bool
	report := func() session.Report {
		if stuck.Load() {
			return session.Report{Remote: &net.TCPAddr{}, Stuck: time.Hour}
		}
		return session.Report{}
	}
	var log logBuffer
	stop := notify(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), nil, report)
	wantTold(t, told, "WATCHDOG=1", "")
	stuck.Store(true)
	eventually(t, "the log says that the watchdog is left alone", func() bool {
		return strings.Count(log.String(), "stuck in a write for 1h0m0s") > 2
	})
	for len(told) > 0 {
		<-told
	}
	eventually(t, "the log says so again", func() bool { return strings.Count(log.String(), "stuck") > 5 })
	stop()
	if got := <-told; got != "STOPPING=1" {
		t.Errorf("told %q by a program that is stuck", got)
	}
}
