//go:build !darwin && !dragonfly && !freebsd && !linux && !netbsd && !openbsd

package tun

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

func open(context.Context, string, int, options) (Device, error) {
	return nil, fmt.Errorf("tunnel interfaces on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
