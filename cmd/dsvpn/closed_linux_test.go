package main

import (
	"fmt"
	"syscall"
	"testing"
)

// A host that is closed stays so through starts that end at any step, until a
// cleanup.
func TestKeepClosedAtEveryStep(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	startServer(t, tr)
	before := state(t, tr.client)
	client, err := tr.startClient("--keep-closed")
	check(t, err)
	check(t, client.stop(syscall.SIGTERM))
	closed := state(t, tr.client)
	wire := newCapture(t, tr.server, "access")
	for line := 1; ; line++ {
		reached, log, err := tr.run(tr.client, line, syscall.SIGTERM, "client", tr.key(), serverIP, "--keep-closed")
		if err != nil {
			t.Errorf("line %d: %v\n%s", line, err, log)
		}
		wantState(t, fmt.Sprintf("stop at line %d", line), tr.client, closed)
		if t.Failed() {
			t.Fatal(log)
		}
		if !reached {
			break
		}
	}
	tryEverything(t, tr)
	wantOnlyTunnel(t, wire.upTo(t, tr.client, serverIP))
	check(t, tr.client.Command(t.Context(), tr.exe, "cleanup").Run())
	wantState(t, "cleanup", tr.client, before)
}

// A client that is told to keep its host closed does so when it ends in
// peace, until a cleanup.
func TestKeepClosed(t *testing.T) {
	t.Parallel()
	tr := newTestTrial(t)
	startServer(t, tr, "--keep-closed") // which is nothing to a server
	before := state(t, tr.client)
	client, err := tr.startClient("--keep-closed")
	check(t, err)
	check(t, client.stop(syscall.SIGTERM))
	if !client.log.contains("stays closed") || !client.log.contains("Done.") {
		t.Errorf("the client does not say what becomes of the host:\n%s", client.log.String())
	}
	wire := newCapture(t, tr.server, "access")
	tryEverything(t, tr)
	wantOnlyTunnel(t, wire.upTo(t, tr.client, serverIP))
	check(t, tr.client.Command(t.Context(), tr.exe, "cleanup").Run())
	wantState(t, "cleanup", tr.client, before)
}
