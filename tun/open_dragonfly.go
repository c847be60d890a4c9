package tun

import "golang.org/x/sys/unix"

// The interface belongs to its device file (tun_clone_destroy in if_tun.c). The
// last close takes its addresses and announces that it is gone (tunclose).
const afterClose = permanent

const missingHint = "load the driver (kldload if_tun), or make one more interface (ifconfig tunN create)"

// prepare asks for headers: without them the driver refuses all but IPv4
// (TUNSIFHEAD in tun(4), and tunifoutput in if_tun.c). It is point-to-point
// from the start (tuncreate).
func prepare(fd int, _ bool) error {
	return unix.IoctlSetPointerInt(fd, freebsdTUNSIFHEAD, 1)
}
