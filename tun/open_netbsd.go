package tun

import "golang.org/x/sys/unix"

// The last close takes the interface down, and no more (tunclose in if_tun.c).
const afterClose = stays

const missingHint = "make its file (cd /dev && sh MAKEDEV tunN)"

// prepare asks for headers: without them the driver refuses all but IPv4
// (TUNSIFHEAD in tun(4), and tun_output in if_tun.c). It is point-to-point from
// the start (tunattach0).
func prepare(fd int, _ bool) error {
	return unix.IoctlSetPointerInt(fd, netbsdTUNSIFHEAD, 1)
}
