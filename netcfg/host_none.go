//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package netcfg

import (
	"errors"
	"fmt"
	"runtime"
)

// Probe would read the facts that a plan depends on.
func Probe(Config) (Facts, error) {
	return Facts{}, fmt.Errorf("setting up a host with %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Sweep would remove what a crashed process has left.
func Sweep(string, Plan, string) ([]string, error) {
	return nil, fmt.Errorf("cleaning up a host with %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
