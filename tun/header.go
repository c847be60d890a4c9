package tun

import (
	"encoding/binary"
	"syscall"
)

// On every system but Linux the kernel puts the address family of a packet in
// front of it, and wants one in front of what is written: four bytes, in
// network byte order. The numbers of the families are the system's own.
//
//   - macOS: always (xnu, bsd/net/if_utun.c, utun_ctl_send and utun_output).
//   - OpenBSD: always (tun(4): "a 4-byte network byte order integer containing
//     the address family").
//   - FreeBSD, DragonFly, NetBSD: after TUNSIFHEAD (tun(4)). Without it only
//     IPv4 goes through: tunoutput refuses all else with EAFNOSUPPORT.
const headerLen = 4

// family returns the address family of a packet, and whether it has one.
func family(packet []byte) (uint32, bool) {
	if len(packet) == 0 {
		return 0, false
	}
	switch packet[0] >> 4 {
	case 4:
		return syscall.AF_INET, true
	case 6:
		return syscall.AF_INET6, true
	}
	return 0, false
}

// addHeader copies a packet with a header in front into a frame, and returns
// as much of that as it has filled. There is no header for what is not IP, and
// no room for what is longer than the frame.
func addHeader(frame, packet []byte) ([]byte, bool) {
	f, ok := family(packet)
	if !ok || headerLen+len(packet) > len(frame) {
		return nil, false
	}
	binary.BigEndian.PutUint32(frame, f)
	return frame[:headerLen+copy(frame[headerLen:], packet)], true
}

// stripHeader returns the packet in a frame, if there is one of IP.
func stripHeader(frame []byte) ([]byte, bool) {
	if len(frame) <= headerLen {
		return nil, false
	}
	switch binary.BigEndian.Uint32(frame) {
	case syscall.AF_INET, syscall.AF_INET6:
		return frame[headerLen:], true
	}
	return nil, false
}
