package main

import (
	"os/exec"
	"syscall"
	"testing"

	"dsvpn/netcfg/netlab/netlabtest"
)

// newTestTrial returns a trial that is closed with the test. The test is
// skipped, or fails in CI, where labs cannot be had. The program is this test
// binary under the name of dsvpn.
func newTestTrial(t testing.TB) *trial {
	t.Helper()
	netlabtest.New(t) // may skip
	exe, err := exec.LookPath("dsvpn")
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrial(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.close(); err != nil {
			t.Errorf("close the trial: %v", err)
		}
	})
	return tr
}

// wantHostsUnchanged fails the test when client and server hosts do not look
// at its end as they look now. What is started afterwards with [startServer]
// and [startClient] has been stopped by then.
func wantHostsUnchanged(t testing.TB, tr *trial) {
	t.Helper()
	netlabtest.Unchanged(t, tr.client)
	netlabtest.Unchanged(t, tr.server)
}

// startServer starts a server that is stopped with the test, unless it has
// ended by then. Stopping must succeed.
func startServer(t testing.TB, tr *trial, args ...string) *process {
	t.Helper()
	p, err := tr.startServer(args...)
	return stopAtEnd(t, p, err)
}

// startClient is startServer for the client, which is connected on return.
func startClient(t testing.TB, tr *trial, args ...string) *process {
	t.Helper()
	p, err := tr.startClient(args...)
	return stopAtEnd(t, p, err)
}

func stopAtEnd(t testing.TB, p *process, err error) *process {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-p.done: // the test has ended it, and looked how
		default:
			if err := p.stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Logf("log of the %s:\n%s", p.cmd.Args[1], p.log.String())
		}
	})
	return p
}

// newTunnel returns a trial with server and client connected and a check at
// the end that both hosts are as they were.
func newTunnel(t testing.TB, args ...string) *trial {
	t.Helper()
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	startServer(t, tr, args...)
	startClient(t, tr, args...)
	return tr
}

// check fails the test at once for an error.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What comes from the tunnel looks, outside, as if it came from the server.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	tr := newTunnel(t)
	d := &demo{trial: tr}
	check(t, d.prepare(t.Context()))
	who, err := d.whoAmI(t.Context())
	check(t, err)
	if who != serverUplinkIP {
		t.Errorf("the internet host sees %s, want %s", who, serverUplinkIP)
	}
}
