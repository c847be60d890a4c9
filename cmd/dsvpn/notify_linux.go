package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"dsvpn/session"
)

// notify keeps a service manager such as systemd informed: when the service is
// ready, when it stops and, if it wants to know, that it is alive. Without one
// (NOTIFY_SOCKET is not set) it does nothing. It goes on until ctx ends or the
// returned function is called.
func notify(ctx context.Context, log *slog.Logger, ready <-chan struct{}, report func() session.Report) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("the service manager cannot be told", "err", err)
		}
	}
	var ticks <-chan time.Time
	if interval, err := daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("the watchdog cannot be served", "err", err)
	} else if interval > 0 {
		ticker := time.NewTicker(interval / 2)
		context.AfterFunc(ctx, ticker.Stop)
		ticks = ticker.C
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-ready:
				tell(fmt.Sprintf("%s\nSTATUS=%v", daemon.SdNotifyReady, report()))
				ready = nil
			case <-ticks:
				now := report()
				if err := now.Alive(); err != nil {
					log.Error("the watchdog is left to bark", "err", err)
					continue
				}
				tell(fmt.Sprintf("%s\nSTATUS=%v", daemon.SdNotifyWatchdog, now))
			case <-ctx.Done():
				tell(daemon.SdNotifyStopping)
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}
