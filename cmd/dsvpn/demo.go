package main

import (
	"context"
	"errors"
)

// demo shows a server and a client at work in throw-away namespaces, and
// leaves them there where keep is set.
func (p *program) demo(_ context.Context, _ bool) error {
	return errors.New("not wired yet")
}
