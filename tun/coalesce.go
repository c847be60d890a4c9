package tun

import (
	"bytes"
	"encoding/binary"
)

// coalescer makes one large write of packets that follow each other in a TCP
// connection, with a struct virtio_net_hdr in front. Whatever makes packets of
// that again makes the very same: those that were merged differ in nothing but
// lengths, sequence numbers, identifications and checksums, all of which follow
// from the first, and in PSH, which only the last may have. (The identification
// of an IPv4 packet that must not be fragmented means nothing, and may change.)
type coalescer struct {
	frame   []byte
	alone   bool        // nothing is merged: the kernel does not take it
	refused func(error) // is told so
}

func newCoalescer(refused func(error)) *coalescer {
	return &coalescer{frame: make([]byte, maxFrame), refused: refused}
}

// giveUp ends merging, for good.
func (c *coalescer) giveUp(err error) {
	c.alone = true
	c.refused(err)
}

// pack makes a frame of the first packets of a batch, and returns of how many:
// none if the first is longer than any packet.
func (c *coalescer) pack(packets [][]byte) (frame []byte, n int) {
	if len(packets[0]) > MaxMTU {
		return nil, 0
	}
	vnetHeader{}.put(c.frame)
	end := vnetHeaderLen + copy(c.frame[vnetHeaderLen:], packets[0])
	n = 1
	if !c.alone && len(packets) > 1 {
		r, ok := newRun(packets[0])
		for ; ok && n < len(packets) && r.take(packets[n]); n++ {
			end += copy(c.frame[end:], packets[n][r.first.payload:])
		}
		if n > 1 {
			r.finish(c.frame[:end])
		}
	}
	return c.frame[:end], n
}

// run is a row of packets that can be one.
type run struct {
	first    tcpPacket
	size     int    // bytes of payload in each but the last, which may have fewer
	length   int    // of the packet that they make
	count    int    // of packets
	flags    byte   // of TCP, in the last
	sequence uint32 // of the payload to come
	ended    bool   // nothing may come after the last
}

// newRun begins with a packet, unless that is one to be left alone.
func newRun(packet []byte) (r run, ok bool) {
	p, ok := parseMergeable(packet)
	if !ok || p.flags()&tcpPSH != 0 {
		return run{}, false
	}
	size := len(packet) - p.payload
	return run{first: p, size: size, length: len(packet), count: 1, sequence: p.sequence() + uint32(size)}, true
}

// take makes a packet part of the run, if it continues it.
func (r *run) take(packet []byte) bool {
	if r.ended || len(packet) < r.first.payload || len(packet) > len(r.first.bytes) {
		return false // without looking at it
	}
	p, ok := parseMergeable(packet)
	size := len(packet) - r.first.payload
	if !ok || r.length+size > MaxMTU || p.sequence() != r.sequence || !r.sameHeaders(p) {
		return false
	}
	// Checksums last: they cost most. That of the first counts once there is a
	// second.
	if r.count == 1 && !r.first.intact() || !p.intact() {
		return false
	}
	r.flags = p.flags()
	r.ended = size < r.size || r.flags&tcpPSH != 0
	r.length += size
	r.count++
	r.sequence += uint32(size)
	return true
}

// sameHeaders compares all that segments of one packet have in common.
func (r *run) sameHeaders(p tcpPacket) bool {
	a, b := r.first.bytes[:r.first.payload], p.bytes[:p.payload]
	if len(a) != len(b) || a[0] != b[0] || a[1] != b[1] {
		return false // version, header length and traffic class
	}
	if r.first.version() == 6 {
		if !bytes.Equal(a[:ip6LengthAt], b[:ip6LengthAt]) || !bytes.Equal(a[ip6NextAt:ip6Len], b[ip6NextAt:ip6Len]) {
			return false // flow label, hop limit and addresses
		}
	} else if !bytes.Equal(a[ip4FragmentAt:ip4ChecksumAt], b[ip4FragmentAt:ip4ChecksumAt]) ||
		!bytes.Equal(a[ip4AddrsAt:ip4Len], b[ip4AddrsAt:ip4Len]) || !r.sameIDs(a, b) {
		return false
	}
	a, b = a[r.first.tcp:], b[p.tcp:]
	return bytes.Equal(a[:tcpSequenceAt], b[:tcpSequenceAt]) && // ports
		bytes.Equal(a[8:tcpFlagsAt], b[8:tcpFlagsAt]) && // acknowledgement and offset
		bytes.Equal(a[14:tcpChecksumAt], b[14:tcpChecksumAt]) && // window
		bytes.Equal(a[18:], b[18:]) // urgent pointer and options
}

// sameIDs reports whether the identification of an IPv4 packet is what becomes
// of that of the first. It means nothing in a packet that is never fragmented
// (RFC 6864, 4.1).
func (r *run) sameIDs(a, b []byte) bool {
	return binary.BigEndian.Uint16(a[ip4FragmentAt:])&ip4DontFragment != 0 ||
		binary.BigEndian.Uint16(b[ip4IDAt:]) == binary.BigEndian.Uint16(a[ip4IDAt:])+uint16(r.count)
}

// finish makes the headers of a frame, which are a copy of those of the first
// packet, those of the run.
func (r *run) finish(frame []byte) {
	p := tcpPacket{frame[vnetHeaderLen:], r.first.tcp, r.first.payload}
	tcp := p.bytes[p.tcp:]
	p.setLength(r.length)
	tcp[tcpFlagsAt] = r.flags
	binary.BigEndian.PutUint16(tcp[tcpChecksumAt:], p.pseudoHeader(len(tcp)))
	h := vnetHeader{
		flags:   vnetNeedsChecksum,
		gsoType: gsoTCP4,
		headers: uint16(p.payload),
		segment: uint16(r.size),
		start:   uint16(p.tcp),
		offset:  tcpChecksumAt,
	}
	if p.version() == 6 {
		h.gsoType = gsoTCP6
	}
	h.put(frame)
}

// parseMergeable returns a TCP packet of the plain kind that bulk data comes
// in: with payload, no flag but ACK and PSH, and no options of IP.
func parseMergeable(packet []byte) (tcpPacket, bool) {
	p, ok := parseTCP(packet)
	if !ok || p.payload == len(packet) || p.flags()&^tcpPSH != tcpACK || packet[p.tcp+tcpOffsetAt]&15 != 0 {
		return tcpPacket{}, false
	}
	if p.version() == 6 {
		return p, p.tcp == ip6Len && int(binary.BigEndian.Uint16(packet[ip6LengthAt:])) == len(packet)-ip6Len
	}
	return p, p.tcp == ip4Len && int(binary.BigEndian.Uint16(packet[ip4LengthAt:])) == len(packet)
}

func (p tcpPacket) flags() byte { return p.bytes[p.tcp+tcpFlagsAt] }

func (p tcpPacket) sequence() uint32 { return binary.BigEndian.Uint32(p.bytes[p.tcp+tcpSequenceAt:]) }

// intact reports whether the checksums of a packet are right. The kernel takes
// that on trust of a packet that was merged.
func (p tcpPacket) intact() bool {
	tcp := p.bytes[p.tcp:]
	return (p.version() == 6 || sum(p.bytes[:p.tcp], 0) == 0xffff) && sum(tcp, p.pseudoHeader(len(tcp))) == 0xffff
}
