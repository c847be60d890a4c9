package netlab

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned for a lab or a host that has been closed.
var ErrClosed = errors.New("lab is closed")

// Lab is a set of hosts. Its methods may be called from several goroutines.
type Lab struct {
	mu     sync.Mutex
	hosts  map[string]*Host
	closed bool
}

// New starts an empty lab, after trying whether this process may have one.
// The error for a process that may not wraps [unix.EPERM].
func New() (*Lab, error) {
	probe, err := newHost("probe")
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("network namespaces need CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root or in a user namespace (unshare -Ur): %w", err)
	}
	if err != nil {
		return nil, err
	}
	probe.stop()
	return &Lab{hosts: make(map[string]*Host)}, nil
}

// Host adds a host: a fresh network namespace in which only the loopback
// interface exists, and is up. The name is for people and must be new in this
// lab.
//
// Where a namespace takes settings over from the machine, they are set to the
// kernel's defaults, so that a lab behaves alike everywhere: no forwarding,
// no reverse-path filter. Duplicate address detection is off, which makes
// IPv6 addresses usable at once.
func (l *Lab) Host(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fmt.Errorf("host %s: %w", name, ErrClosed)
	}
	if l.hosts[name] != nil {
		return nil, fmt.Errorf("host %s: exists already", name)
	}
	h, err := newHost(name)
	if err != nil {
		return nil, err
	}
	l.hosts[name] = h
	return h, nil
}

// Close kills the processes that still run on the hosts, waits for their end
// and takes the hosts away, cables included. Sockets that were made on a host
// stay with their owners. Close may be called again, and does nothing then.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	err := killAll(l.hosts)
	for name, h := range l.hosts {
		h.stop()
		delete(l.hosts, name)
	}
	return err
}
