package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"dsvpn/netcfg/netlab/netlabtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needLab skips the test where the bench cannot be run, and gives it a folder
// for temporary files, in which nothing may be left at its end.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	netlabtest.New(t)
	netlabtest.Need(t, "iperf3", "ping")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left in the folder for temporary files: %v, %v", left, err)
		}
	})
}

// progressLog passes on what the bench says of its progress.
type progressLog func(line string)

func (p progressLog) Write(b []byte) (int, error) {
	p(strings.TrimSpace(string(b)))
	return len(b), nil
}

// buildProgram builds the program for those that put it beside itself.
func buildProgram(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "dsvpn")
	if out, err := exec.Command("go", "build", "-o", exe, "dsvpn/cmd/dsvpn").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

// One round, with the program beside itself as the other program, so that
// every figure has three values that can be told from nonsense.
func TestBench(t *testing.T) {
	exe := buildProgram(t)
	needLab(t)
	file := filepath.Join(t.TempDir(), "results.json")
	var table strings.Builder
	err := run(t.Context(), []string{
		"--rounds=1", "--time=1", "--json", file, "--dsvpn", exe,
		"--only=direct,dsvpn,peer,start,tcp-up,udp-1400,ping-50m-up,memory,stop",
		"--peer-server=" + quote(exe) + " server {key} {server} {port} auto {local} {remote}",
		"--peer-client=" + quote(exe) + " client {key} {server} {port} auto {local} {remote}",
	}, &table, progressLog(func(line string) { t.Log(line) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Contenders, Notes []string
		Figures           []struct {
			Name, Unit string
			Results    map[string]struct{ Values []float64 }
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Contenders, []string{"direct", "dsvpn", "peer"}) || got.Notes != nil {
		t.Errorf("contenders %v, notes %v", got.Contenders, got.Notes)
	}
	var rows []string
	for _, f := range got.Figures {
		rows = append(rows, f.Name)
		if !strings.Contains(table.String(), "| "+f.Name+" ") {
			t.Errorf("the table has no row %s", f.Name)
		}
		for _, c := range got.Contenders {
			values := f.Results[c].Values
			// Without a tunnel there is nothing that starts, stops, or has memory.
			none := c == "direct" && (f.Unit == "s/GB" || f.Unit == "MB" || strings.HasPrefix(f.Name, "client,") || strings.HasPrefix(f.Name, "server,"))
			switch {
			case none && len(values) == 0:
			case none || len(values) != 1:
				t.Errorf("%s of %s: %v", f.Name, c, values)
			case f.Unit == "%":
				if values[0] < 0 || values[0] > 100 {
					t.Errorf("%s of %s: %v %%", f.Name, c, values[0])
				}
			case values[0] <= 0 && f.Unit != "s/GB": // a short transfer may take less than a tick
				t.Errorf("%s of %s: %v", f.Name, c, values[0])
			case strings.HasPrefix(f.Name, "50 Mb/s") && f.Unit == "Mb/s" && values[0] > 50:
				t.Errorf("%s of %s: %v Mb/s go through a link of 50", f.Name, c, values[0])
			}
		}
	}
	if len(rows) != 12 {
		t.Errorf("%d rows: %s", len(rows), strings.Join(rows, "; "))
	}
}

// An interrupt in the middle of a measurement ends the run, and nothing of it
// stays: hosts, processes and goroutines neither.
func TestInterrupt(t *testing.T) {
	exe := buildProgram(t)
	needLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var table strings.Builder
	err := run(ctx, []string{"--rounds=1", "--time=600", "--dsvpn", exe, "--only=dsvpn,start,tcp-up"}, &table,
		progressLog(func(line string) {
			if strings.HasPrefix(line, "tcp-up") {
				cancel()
			}
		}))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v", err)
	}
	if got := table.String(); !strings.Contains(got, "first answer") || !strings.Contains(got, "ended in round 1") {
		t.Errorf("what was measured before is not shown:\n%s", got)
	}
}

// A program that fails is told with what it said, and the others are measured.
func TestFailingPeer(t *testing.T) {
	needLab(t)
	var table strings.Builder
	err := run(t.Context(), []string{
		"--rounds=1", "--time=1", "--only=direct,peer,ping-idle",
		"--peer-server=sh -c 'echo sorry, no tunnel today; exit 3'", "--peer-client=true",
	}, &table, progressLog(func(string) {}))
	if err == nil || !strings.Contains(err.Error(), "1 measurements failed") {
		t.Errorf("run = %v", err)
	}
	if got := table.String(); !strings.Contains(got, "sorry, no tunnel today") || !strings.Contains(got, "| idle: ping, median ") {
		t.Errorf("the table says:\n%s", got)
	}
}
