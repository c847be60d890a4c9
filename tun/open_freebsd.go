package tun

import "golang.org/x/sys/unix"

// Interfaces "persist until the if_tuntap.ko module is unloaded, or until
// removed with the ifconfig(8) command" (tun(4)).
const afterClose = stays

const missingHint = "load the driver (kldload if_tuntap), and let it make interfaces (sysctl net.link.tun.devfs_cloning=1)"

// prepare asks for headers: without them the driver refuses all but IPv4
// (TUNSIFHEAD in tun(4), and tunoutput in if_tuntap.c). It is point-to-point
// from the start (tuncreate), and belongs to the process that has opened it
// (tunopen), so there is no need for TUNSIFMODE and TUNSIFPID.
//
// What we have made shall go with us when we are killed, too. Earlier releases
// cannot do that, and then only a clean end removes it.
func prepare(fd int, existed bool) error {
	if !existed {
		unix.IoctlSetPointerInt(fd, freebsdTUNSTRANSIENT, 1)
	}
	return unix.IoctlSetPointerInt(fd, freebsdTUNSIFHEAD, 1)
}
