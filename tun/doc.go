// Package tun opens tunnel interfaces: what the kernel routes into one is
// read here as IP packets, and what is written here arrives at the kernel as
// if it came from a wire.
//
// The device is the same everywhere: a descriptor that the runtime polls, with
// a header in front of each packet on every system but Linux. There, a header of
// another kind allows for packets larger than the MTU: they are cut, and made,
// between the kernel and the caller, who sees none of it. How a descriptor is
// opened is in one file per operating system. Package tuntest has a device in
// memory for tests that need no kernel.
package tun
