package main

import (
	"context"
	"errors"
	"math"
)

var (
	startFigure  = figure{"client, start to first answer", "ms", true}
	memoryFigure = figure{"peak resident memory of the larger end", "MB", true}

	// stopping ends a contender, so it comes after everything else.
	stopping = measurement{"stop", []figure{
		{"client, SIGTERM to exit", "ms", true},
		{"server, SIGTERM to exit", "ms", true},
	}, stopTimes}
)

// started tells what was measured when the contender was started.
func started(_ context.Context, s *site, _ int) ([]float64, error) {
	if len(s.ends) == 0 {
		return []float64{math.NaN()}, nil
	}
	return []float64{milliseconds(s.started)}, nil
}

func peakMemory(_ context.Context, s *site, _ int) ([]float64, error) {
	if len(s.ends) == 0 {
		return []float64{math.NaN()}, nil
	}
	most := 0.0
	for _, p := range s.ends {
		one, err := p.peak()
		if err != nil {
			return nil, err
		}
		most = max(most, one)
	}
	return []float64{most}, nil
}

func stopTimes(_ context.Context, s *site, _ int) ([]float64, error) {
	times := []float64{math.NaN(), math.NaN()}
	var errs []error
	for i, p := range s.ends {
		took, err := p.stop()
		errs = append(errs, err)
		times[i] = milliseconds(took)
	}
	return times, errors.Join(errs...)
}
