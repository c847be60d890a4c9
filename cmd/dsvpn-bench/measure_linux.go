package main

import (
	"context"
	"time"
)

// measurement is something that is measured of every contender while it is up.
type measurement struct {
	name    string // as --only takes it
	figures []figure
	// run measures for so many seconds and returns a value for each figure:
	// NaN for one that a contender does not have.
	run func(ctx context.Context, s *site, seconds int) ([]float64, error)
}

// measurements are all of them, in the order in which they are run and shown:
// the peak of the memory comes last.
func measurements() []measurement {
	list := []measurement{
		{"start", []figure{startFigure}, started},
		tcp("tcp-up", "TCP up", "--parallel", "1"),
		tcp("tcp-down", "TCP down", "--reverse"),
		tcp("tcp-8-up", "8 TCP streams up", "--parallel", "8"),
		tcp("tcp-8-down", "8 TCP streams down", "--parallel", "8", "--reverse"),
		tcpToTunnel(),
		udp(64), udp(512), udp(1400),
		pingIdle(),
	}
	for _, rate := range []shapedRate{{"50m", "50 Mb/s", 50e6}, {"1g", "1 Gb/s", 1e9}} {
		list = append(list, pingLoaded(rate, "up"), pingLoaded(rate, "down", "--reverse"))
	}
	return append(list, measurement{"memory", []figure{memoryFigure}, peakMemory}, stopping)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
