//go:build !linux

package main

import (
	"context"
	"fmt"
	"net"
	"runtime"
)

// errNoLocal names the way that works everywhere.
var errNoLocal = fmt.Errorf("not on %s: use --health ADDRESS:PORT and an HTTP client", runtime.GOOS)

func listenLocal(context.Context, string) (net.Listener, error) { return nil, errNoLocal }
func dialLocal(context.Context, string) (net.Conn, error)       { return nil, errNoLocal }
func localNames() ([]string, error)                             { return nil, errNoLocal }
