package main

import (
	"context"
	"errors"
)

// cleanup removes what a crashed process has left behind for the interface
// of that name, or for all where it is empty.
func (p *program) cleanup(_ context.Context, _ string) error {
	return errors.New("not wired yet")
}
