package main

import (
	"context"
	"errors"

	"dsvpn/session"
)

// up brings a tunnel up, and takes it down when ctx ends.
func (p *program) up(_ context.Context, _ options, _ session.Key) error {
	return errors.New("not wired yet")
}
