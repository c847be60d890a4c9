//go:build !linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// bench needs network namespaces, which only Linux has.
func bench(context.Context, arguments, io.Writer) (*results, error) {
	return nil, fmt.Errorf("the measurements need the network namespaces of Linux, and this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
