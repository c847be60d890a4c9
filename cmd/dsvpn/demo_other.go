//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// demo needs network namespaces, which only Linux has.
func (p *program) demo(context.Context, bool) error {
	return fmt.Errorf("the demo needs the network namespaces of Linux, and this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
