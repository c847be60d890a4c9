//go:build !linux

package main

import (
	"context"
	"log/slog"

	"dsvpn/session"
)

// notify has nobody to inform: systemd is on Linux only.
func notify(context.Context, *slog.Logger, <-chan struct{}, func() session.Report) (stop func()) {
	return func() {}
}
