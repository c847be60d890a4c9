//go:build !linux

package sysctl

// namespace is a name for the one network that a host has.
func namespace() string { return "host" }
