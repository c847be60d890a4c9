//go:build !linux

package session

import "net"

// Marks, TCP_DEFER_ACCEPT and the like are Linux's: other systems go without.

func markControl(uint32) control { return nil }

func listenControl(uint32) control { return nil }

func tuneSystem(*net.TCPConn) error { return nil }

func setCongestion(*net.TCPConn, string) error { return nil }
