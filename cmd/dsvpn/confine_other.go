//go:build !openbsd

package main

// confine is for systems that let a process give up what it does not need.
func confine(options) error { return nil }
