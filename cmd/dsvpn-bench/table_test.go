package main

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// someResults has a bit of everything: a peer that is best when more is better,
// and another when less is; nothing to compare with; a contender that failed
// once, and one that never has a figure.
func someResults() *results {
	r := &results{
		Machine:    machine{System: "Linux 6.18.0 amd64", CPUs: 2, LoadBefore: 0.1, LoadAfter: 2.25},
		Rounds:     3,
		Seconds:    1,
		Contenders: []string{noTunnel, subject, "wireguard-go", "peer"},
		Notes:      []string{"openvpn is left out: not there", "peer: udp-64 failed: two\nlines"},
	}
	rate, lost, took := figure{"TCP up", "Mb/s", false}, figure{"UDP: lost", "%", true}, figure{"start", "ms", true}
	for contender, values := range map[string][]float64{
		noTunnel: {20000, 28123.4, 25000}, subject: {512.3, 480, 530.06}, "wireguard-go": {2000, 1999, 2100}, "peer": {281},
	} {
		for _, v := range values {
			r.add(rate, contender, v)
		}
	}
	r.add(lost, noTunnel, 0)
	r.add(lost, subject, 0.01234)
	r.add(lost, "wireguard-go", 99.96)
	r.add(took, noTunnel, math.NaN())
	r.add(took, subject, 19)
	r.add(took, "wireguard-go", 40)
	r.add(took, "peer", 9.5)
	return r
}

func TestTable(t *testing.T) {
	golden(t, "table.md", someResults().table())
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	if err := someResults().writeJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "results.json", string(text))
}

// golden compares with a file in testdata, which go test -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
