package tun

import "encoding/binary"

// The requests to the tun drivers of the BSDs, from their <net/if_tun.h>; the
// argument of each is a pointer to an int. OpenBSD and macOS need none.
const (
	freebsdTUNSIFHEAD    = iow | 't'<<8 | 96 // also DragonFly's
	freebsdTUNSTRANSIENT = iow | 't'<<8 | 98 // since FreeBSD 15
	netbsdTUNSIFHEAD     = iow | 't'<<8 | 66
)

// iow is _IOW(group, number, int) of <sys/ioccom.h>, to which the group and
// the number are added: IOC_IN, and the size of an int.
const iow = 0x80000000 | 4<<16

// The layout of a struct ifreq, which is the same on every BSD and on macOS
// but for the size: the name, as a C string, then a union, whose MTU is an int.
const (
	ifreqMTUAt = maxName + 1
	ifreqEnd   = ifreqMTUAt + 4
)

// ifreq returns the struct ifreq of a request about an interface, as bytes. A
// request has the size of its argument in it, at IOCPARM_MASK of
// <sys/ioccom.h>, so there is no need to know that of each system.
func ifreq(request uint, name string, mtu int) string {
	b := make([]byte, max(request>>16&0x1fff, ifreqEnd))
	copy(b[:maxName], name)
	binary.NativeEndian.PutUint32(b[ifreqMTUAt:], uint32(mtu))
	return string(b)
}
