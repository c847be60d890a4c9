//go:build !linux

package main

import (
	"errors"
	"os"
)

// checkPrivilege wants the user who may change the network. To ask first is to
// say what is missing, where the first thing that fails would be named otherwise.
func checkPrivilege() error {
	if os.Geteuid() != 0 {
		return errors.New("this takes the rights of root: run it with doas or sudo")
	}
	return nil
}
