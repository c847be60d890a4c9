package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What the receiver got counts, not what the sender sent.
func TestParseIperf3(t *testing.T) {
	for _, tt := range []struct {
		file string
		want transfer
		err  string
	}{
		{"iperf3-tcp.json", transfer{1193934848, 9428474900.448746, 0}, ""},
		{"iperf3-tcp-reverse-3.json", transfer{1261305856, 10089982708.795395, 0}, ""},
		{"iperf3-udp.json", transfer{31442600, 250571838.69974807, 77.842344119968431}, ""},
		{"iperf3-refused.json", transfer{}, "iperf3: unable to connect to server: Connection refused"},
	} {
		got, err := parseIperf3(sample(t, tt.file))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %+v, %v; want %+v, %q", tt.file, got, err, tt.want, tt.err)
		}
	}
	for _, output := range []string{"", "{}", `{"end":{}}`, `{"end":{"sum_received":{"bytes":0}}}`, "interrupted"} {
		if got, err := parseIperf3([]byte(output)); err == nil {
			t.Errorf("parseIperf3(%q) = %+v without an error", output, got)
		}
	}
}

func TestParsePing(t *testing.T) {
	recorded := string(sample(t, "ping.txt"))
	lines := strings.SplitAfter(recorded, "\n")
	without := func(n int) string { return strings.Join(slices.Delete(slices.Clone(lines), n, n+1), "") }
	swapped := strings.NewReplacer("icmp_seq=1", "icmp_seq=2", "icmp_seq=2", "icmp_seq=1").Replace(recorded)
	for _, tt := range []struct {
		name, output string
		skip         float64
		want         []float64
		lost         float64
	}{
		{"all", recorded, 0, []float64{0.024, 0.034, 0.037, 0.043, 0.052}, 0},
		{"number 3 lost", without(3), 0, []float64{0.024, 0.034, 0.043, 0.052}, 20},
		{"still under way at the end", without(5), 0, []float64{0.024, 0.034, 0.037, 0.043}, 0},
		{"warm-up", recorded, 0.02, []float64{0.037, 0.043, 0.052}, 0},
		{"out of order", swapped, 0, []float64{0.024, 0.034, 0.037, 0.043, 0.052}, 0},
		{"whole milliseconds", "[1.5] 64 bytes from 203.0.113.2: icmp_seq=1 ttl=63 time=123 ms\n", 0, []float64{123}, 0},
	} {
		got, err := parsePing(tt.output, tt.skip)
		if err != nil || !slices.Equal(got.times, tt.want) || got.lost != tt.lost {
			t.Errorf("%s: %+v, %v; want %v, %v %% lost", tt.name, got, err, tt.want, tt.lost)
		}
	}
	for _, output := range []string{"", lines[0], "[1.5] From 198.51.100.1 icmp_seq=1 Destination Host Unreachable\n"} {
		if got, err := parsePing(output, 0); err == nil {
			t.Errorf("parsePing(%q) = %+v without an error", output, got)
		}
	}
}
