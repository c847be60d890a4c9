// Package tun opens tunnel interfaces: what the kernel routes into one is
// read here as IP packets, and what is written here arrives at the kernel as
// if it came from a wire.
//
// The device is the same everywhere: a descriptor that the runtime polls, with
// a header in front of each packet on every system but Linux. How that is
// opened is in one file per operating system. Package tuntest has a device in
// memory for tests that need no kernel.
package tun
