package main

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"time"
)

// warmUp is how many seconds of a loaded link do not count, while TCP looks
// for its rate.
const warmUp = 1

func pingFigures(label string) []figure {
	return []figure{{label + ": ping, median", "ms", true}, {label + ": ping, 99 %", "ms", true}}
}

func pingIdle() measurement {
	return measurement{"ping-idle", pingFigures("idle"), func(ctx context.Context, s *site, seconds int) ([]float64, error) {
		p, err := s.ping(ctx, seconds, 0)
		return []float64{percentile(p.times, 50), percentile(p.times, 99)}, err
	}}
}

// shapedRate is one that the link between client and server is limited to.
type shapedRate struct {
	name, label   string
	bitsPerSecond uint64
}

// pingLoaded pings while one TCP stream fills the link.
func pingLoaded(rate shapedRate, way string, flags ...string) measurement {
	label := rate.label + " link, bulk " + way
	figures := append(pingFigures(label),
		figure{label + ": pings lost", "%", true},
		figure{label + ": TCP", "Mb/s", false})
	run := func(ctx context.Context, s *site, seconds int) (values []float64, err error) {
		if err := s.shape(rate.bitsPerSecond); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.unshape()) }()
		var bulk transfer
		done := make(chan error, 1)
		go func() {
			var err error
			bulk, err = s.iperf3(ctx, s.internet, internetIP, seconds+warmUp, flags...)
			done <- err
		}()
		p, err := s.ping(ctx, seconds+warmUp, warmUp)
		if err := errors.Join(err, <-done); err != nil {
			return nil, err
		}
		return []float64{percentile(p.times, 50), percentile(p.times, 99), p.lost, bulk.Rate / 1e6}, nil
	}
	return measurement{"ping-" + rate.name + "-" + way, figures, run}
}

// ping sends 100 packets a second from the client to the internet host, and
// leaves out what is answered in the first skip seconds.
func (n *network) ping(ctx context.Context, seconds, skip int) (pings, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+startLimit)
	defer cancel()
	out, err := n.client.Command(ctx, "ping", "-n", "-D", "-i", "0.01", "-w", strconv.Itoa(seconds), internetIP).Output()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return pings{}, err
	}
	return parsePing(string(out), float64(skip))
}
