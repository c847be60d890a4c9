package main

import (
	"context"
	"errors"
)

// check tells for each of the given options whether this host could do it.
func (p *program) check(_ context.Context, _ []options) error {
	return errors.New("not wired yet")
}
