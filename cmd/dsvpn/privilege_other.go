//go:build !linux

package main

// checkPrivilege leaves it to each operation to say what it lacks.
func checkPrivilege() error { return nil }
