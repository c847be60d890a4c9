package tun

import "encoding/binary"

// With IFF_VNET_HDR, Linux puts a struct virtio_net_hdr in front of each
// packet, and wants one in front of what is written: ten bytes, in the byte
// order of the machine (<linux/virtio_net.h>; tun_is_little_endian in
// drivers/net/tun.c). It tells what is left to do to a packet, which may be
// larger than any that a wire takes.
type vnetHeader struct {
	flags, gsoType uint8

	// headers is the length of the headers in front of the payload. The kernel
	// may say less or more than that of what it hands over: it is a hint.
	headers uint16

	segment       uint16 // bytes of payload in each packet to be made of this one
	start, offset uint16 // of the checksum: where it begins, and how far behind that its field is
}

const (
	vnetHeaderLen = 10
	maxFrame      = vnetHeaderLen + ip6Len + MaxMTU // IPv6 does not count its own header
)

// What is left to do, of <linux/virtio_net.h>.
const (
	vnetNeedsChecksum = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM

	gsoNone = 0    // VIRTIO_NET_HDR_GSO_NONE
	gsoTCP4 = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	gsoTCP6 = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	gsoECN  = 0x80 // VIRTIO_NET_HDR_GSO_ECN, besides one of the others: CWR is set
)

// parseVnetHeader returns the header of a frame, and the packet behind it.
func parseVnetHeader(frame []byte) (h vnetHeader, packet []byte, ok bool) {
	if len(frame) <= vnetHeaderLen {
		return vnetHeader{}, nil, false
	}
	native := binary.NativeEndian
	return vnetHeader{
		flags:   frame[0],
		gsoType: frame[1],
		headers: native.Uint16(frame[2:]),
		segment: native.Uint16(frame[4:]),
		start:   native.Uint16(frame[6:]),
		offset:  native.Uint16(frame[8:]),
	}, frame[vnetHeaderLen:], true
}

// put writes the header in front of a frame.
func (h vnetHeader) put(frame []byte) {
	native := binary.NativeEndian
	frame[0], frame[1] = h.flags, h.gsoType
	native.PutUint16(frame[2:], h.headers)
	native.PutUint16(frame[4:], h.segment)
	native.PutUint16(frame[6:], h.start)
	native.PutUint16(frame[8:], h.offset)
}
