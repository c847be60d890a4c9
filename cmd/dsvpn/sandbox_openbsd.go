package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg"
)

func (p *program) harden(options) {}

func (p *program) dropCapabilities(options, netcfg.Needs) {}

// restrict gives up all that the program does not need from here on. The device,
// the routing socket and the listener are open, and the key is read. What stays
// is what it takes to keep a session and to put the host back.
//
// The commands that do the latter are not confined: unveil(2) is not inherited by
// a program that is executed, and pledge(2) is only if it says so.
func (p *program) restrict(_ context.Context, o options, needs netcfg.Needs) {
	if o.Sandbox == sandboxOff {
		p.log.Info("not confined (--sandbox off)")
	} else if err := confine(o, needs); err != nil {
		p.log.Warn("not confined", "err", err)
	} else {
		p.log.Info("confined", "by", "unveil and pledge")
	}
}

func confine(o options, needs netcfg.Needs) error {
	// Package net finds out once, when it is first used, what the system does
	// with IPv6. That takes an option of a socket (IPV6_V6ONLY) that a pledge
	// does not allow. Connecting a UDP socket sends nothing.
	if c, err := net.Dial("udp", "[::1]:9"); err == nil {
		c.Close()
	}
	visible := []struct{ path, do string }{
		{"/sbin/ifconfig", "rx"}, // r: we look for it before we run it
		{"/sbin/route", "rx"},
		{"/sbin/sysctl", "rx"},
		{"/sbin/pfctl", "rx"},
		{"/dev/null", "rw"},
		{"/etc/resolv.conf", "r"}, // the resolver of package net reads these
		{"/etc/hosts", "r"},
		{"/etc/services", "r"},
		{"/etc/protocols", "r"},
	}
	if !o.Net.PointToPoint || o.Net.Role == netcfg.Server { // a client would have nothing to remember
		os.MkdirAll(needs.StateDir, 0o755) // without it, unveil says that there is none
		visible = append(visible, struct{ path, do string }{needs.StateDir, "rwc"})
	}
	for _, may := range visible {
		if err := unix.Unveil(may.path, may.do); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("unveil %s: %w", may.path, err)
		}
	}
	if err := unix.UnveilBlock(); err != nil {
		return fmt.Errorf("unveil: %w", err)
	}
	const promises = "error" + // what we have forgotten here fails (ENOSYS), and nobody is killed
		" stdio" + // memory, threads, and descriptors that are open
		" inet dns" + // sessions, the name of the server
		" route" + // facts, when the network has changed
		" rpath wpath cpath flock" + // the state folder
		" proc exec" // the commands, and to kill one that hangs
	if err := unix.PledgePromises(promises); err != nil {
		return fmt.Errorf("pledge: %w", err)
	}
	return nil
}
