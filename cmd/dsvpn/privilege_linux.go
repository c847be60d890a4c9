package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// checkPrivilege looks for the capability that everything here takes, from the
// interface to the mark of the connection. To ask first is to say what is
// missing, where the first thing that fails would be named otherwise.
func checkPrivilege() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // of 32 capabilities each
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return fmt.Errorf("read our capabilities: %w", err)
	}
	if sets[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return errors.New("CAP_NET_ADMIN is missing: run as root, or give it to the container (--cap-add=NET_ADMIN; " +
			"in Kubernetes: securityContext: {capabilities: {add: [NET_ADMIN]}})")
	}
	return nil
}
