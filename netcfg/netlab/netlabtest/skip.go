// Package netlabtest has what tests on a lab share, and decides what becomes
// of a test that this machine cannot run.
package netlabtest

import (
	"os"
	"os/exec"
	"testing"
)

// Skip skips the test for the reason given. Where CI=true is set in the
// environment it fails the test instead: everything is there by agreement,
// and a skip would be a hole.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("cannot run here: " + reason)
	}
	t.Skip(reason)
}

// Need skips the test, by [Skip], unless all these programs are installed.
func Need(t testing.TB, binaries ...string) {
	t.Helper()
	for _, name := range binaries {
		if _, err := exec.LookPath(name); err != nil {
			Skip(t, err.Error())
		}
	}
}
