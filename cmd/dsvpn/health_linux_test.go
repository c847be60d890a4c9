package main

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"
)

// The status of the tunnel is told by the command, over HTTP, and by exit
// codes, from before there is a session until it has ended.
func TestHealth(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	const address = "127.0.0.1:8080"
	ask := func(want bool, words string, args ...string) {
		t.Helper()
		out, err := tr.client.Command(t.Context(), tr.exe, append([]string{"health"}, args...)...).CombinedOutput()
		if (err == nil) != want || !strings.Contains(string(out), words) {
			t.Errorf("dsvpn health %v: %v, want success %v and %q:\n%s", args, err, want, words, out)
		}
		if lines := strings.Count(string(out), "\n"); lines != 1 {
			t.Errorf("dsvpn health %v prints %d lines:\n%s", args, lines, out)
		}
	}
	get := func(path string) string {
		t.Helper()
		conn, err := tr.client.Dial(t.Context(), "tcp", address)
		if err != nil {
			return err.Error()
		}
		defer conn.Close()
		io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: "+address+"\r\n\r\n")
		answer, err := io.ReadAll(conn)
		return string(answer) + errorText(err)
	}
	want := func(path, words string) {
		t.Helper()
		if got := get(path); !strings.Contains(got, words) {
			t.Errorf("GET %s: %q, want %q", path, got, words)
		}
	}

	ask(false, "no tunnel is up")
	ask(false, "tun0: no such tunnel is up", "tun0")
	// A client without a server is alive and not ready.
	client, err := tr.start(tr.client, "connection failed", "client", tr.key(), serverIP, "--health", address)
	stopAtEnd(t, client, err)
	ask(false, "tun0: no session")
	ask(true, "tun0: no session", "--live")
	want("/healthz", " 200 ")
	want("/readyz", " 503 ")

	server := startServer(t, tr)
	check(t, client.await("Connected", startTimeout))
	ask(true, "tun0: session with "+serverIP+":443")
	ask(true, "tun0: session with", "--live", "tun0")
	want("/readyz", " 200 ")
	check(t, server.await("Session established", startTimeout))

	check(t, server.stop(syscall.SIGTERM))
	check(t, client.await("session ended", startTimeout))
	eventually(t, "the client is not ready", func() bool { return strings.Contains(get("/readyz"), " 503 ") })
	ask(false, "tun0: no session", "tun0")
	check(t, client.stop(syscall.SIGTERM))
	ask(false, "no tunnel is up")
}

func errorText(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return ""
	}
	return err.Error()
}
