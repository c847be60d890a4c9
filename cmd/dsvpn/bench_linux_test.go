package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dsvpn/netcfg/netlab/netlabtest"
)

// newBenchTrial makes a trial of the program as it is shipped: static, and
// not the test binary, which takes longer to start.
func newBenchTrial(b *testing.B) *trial {
	b.Helper()
	netlabtest.New(b) // skips where labs cannot be had
	t, err := newTrial(buildProgram(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := t.close(); err != nil {
			b.Error(err)
		}
	})
	return t
}

// buildProgram builds the program as it is shipped, and returns its path.
func buildProgram(t testing.TB) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "dsvpn")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", exe, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Microseconds()) / 1000
}

// BenchmarkStartStop measures client and server, with each kind of firewall,
// from the start to the words that say it is up and from SIGTERM to the exit.
func BenchmarkStartStop(b *testing.B) {
	t := newBenchTrial(b)
	for _, firewall := range []string{"nft", "iptables"} {
		flag := "--firewall=" + firewall
		b.Run("server/"+firewall, func(b *testing.B) {
			benchStartStop(b, func() (*process, error) { return t.startServer(flag) })
		})
		b.Run("client/"+firewall, func(b *testing.B) {
			server, err := t.startServer()
			if err != nil {
				b.Fatal(err)
			}
			benchStartStop(b, func() (*process, error) { return t.startClient(flag) })
			if err := server.stop(syscall.SIGTERM); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func benchStartStop(b *testing.B, start func() (*process, error)) {
	var starts, stops []time.Duration
	for b.Loop() {
		p, err := start()
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if err := p.stop(syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		starts, stops = append(starts, p.took), append(stops, time.Since(begin))
	}
	b.ReportMetric(median(starts), "ms-start")
	b.ReportMetric(median(stops), "ms-stop")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThroughput measures one TCP stream through the tunnel and the
// server's masquerading, each way, with iperf3, and the resident memory of
// both programs when idle and at its highest.
func BenchmarkThroughput(b *testing.B) {
	netlabtest.Need(b, "iperf3")
	t := newBenchTrial(b)
	var ends [2]*process
	var err error
	if ends[0], err = t.startServer(); err != nil {
		b.Fatal(err)
	}
	if ends[1], err = t.startClient(); err != nil {
		b.Fatal(err)
	}
	iperf := t.internet.Command(b.Context(), "iperf3", "--server", "--forceflush")
	var log logBuffer
	iperf.Stdout = &log
	if err := iperf.Start(); err != nil {
		b.Fatal(err)
	}
	for !log.contains("Server listening") {
		<-log.grown()
	}
	idle := max(memory(b, ends[0], "VmRSS"), memory(b, ends[1], "VmRSS"))
	for _, way := range []struct {
		name string
		flag []string
	}{{"up", nil}, {"down", []string{"--reverse"}}} {
		b.Run(way.name, func(b *testing.B) {
			var rates []time.Duration // of one bit per microsecond: the median is shared
			for b.Loop() {
				args := append([]string{"--client", internetIP, "--time", "3", "--json"}, way.flag...)
				out, err := t.client.Command(b.Context(), "iperf3", args...).Output()
				if err != nil {
					b.Fatal(err)
				}
				var report struct {
					End struct {
						SumReceived struct {
							BitsPerSecond float64 `json:"bits_per_second"`
						} `json:"sum_received"`
					} `json:"end"`
				}
				if err := json.Unmarshal(out, &report); err != nil {
					b.Fatal(err)
				}
				rates = append(rates, time.Duration(report.End.SumReceived.BitsPerSecond/1e3)*time.Microsecond)
			}
			b.ReportMetric(median(rates), "Mb/s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(idle, "MB-idle")
			b.ReportMetric(max(memory(b, ends[0], "VmHWM"), memory(b, ends[1], "VmHWM")), "MB-peak")
		})
	}
}

// memory reads a figure of a process from the kernel, in megabytes.
func memory(b testing.TB, p *process, field string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1000
		}
	}
	b.Fatalf("no %s in %s", field, status)
	return 0
}
