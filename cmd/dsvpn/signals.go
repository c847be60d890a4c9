package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// A signalError is the cause of a context that a signal has ended.
type signalError struct{ os.Signal }

func (e *signalError) Error() string { return "stopped by " + e.String() }

// withSignals returns a context that ends with the first signal to stop. The
// signals after it change nothing, so that nobody's impatience leaves the
// host half put back. The second result ends the watch; signals stay caught,
// so that one that comes while the process ends does not kill it.
func withSignals(parent context.Context, log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	stopping := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // such as SIGHUP under nohup
			signal.Notify(stopping, s)
		}
	}
	// A log that nobody reads any more must not end the process on the spot.
	// Caught and not ignored, since children would inherit that.
	unread := make(chan os.Signal, 1)
	signal.Notify(unread, syscall.SIGPIPE)

	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-stopping:
				if ctx.Err() == nil {
					log.Info("stopping", "signal", s.String())
					cancel(&signalError{s})
				} else {
					log.Warn("already stopping", "signal", s.String())
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		close(done)
		cancel(nil)
	}
}

// prods returns the requests of an operator, as SIGUSR1. Signals stay caught
// afterwards.
func prods() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	return signals
}
