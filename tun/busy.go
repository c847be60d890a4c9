//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// busyFor is how long Open waits for another program to let go of the
// interface.
const busyFor = 3 * time.Second

// retryBusy repeats fn while it fails because another program has the
// interface. The Linux kernel takes some 20 ms to remove that of a program
// that ends.
func retryBusy(ctx context.Context, fn func() error) error {
	limit := time.Now().Add(busyFor)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := fn()
		if !errors.Is(err, unix.EBUSY) || time.Now().After(limit) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
