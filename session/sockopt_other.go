//go:build !linux

package session

import (
	"net"
	"time"
)

// Marks, TCP_DEFER_ACCEPT and the like are Linux's: other systems go without.

func markControl(uint32) control { return nil }

func listenControl(uint32) control { return nil }

func tuneSystem(*net.TCPConn, timing) error { return nil }

func setUserTimeout(net.Conn, time.Duration) {}

func setCongestion(*net.TCPConn, string) error { return nil }

// unacked is not known here.
func unacked(net.Conn) (int, bool) { return 0, false }

// suspended is not known here.
func suspended() time.Duration { return 0 }
