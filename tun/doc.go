// Package tun opens tunnel interfaces: what the kernel routes into one is
// read here as IP packets, and what is written here arrives at the kernel as
// if it came from a wire.
//
// There is one file per operating system with the function open. Package
// tuntest has a device in memory for tests that need no kernel.
package tun
