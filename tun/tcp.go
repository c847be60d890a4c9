package tun

import "encoding/binary"

// Of the headers of IP (RFC 791, RFC 8200) and TCP (RFC 9293): lengths, and
// where in them is what changes from one packet of a connection to the next.
const (
	ip4Len, ip6Len, tcpLen = 20, 40, 20 // without options and extensions

	ip4LengthAt, ip4IDAt, ip4FragmentAt, ip4ProtocolAt, ip4ChecksumAt, ip4AddrsAt = 2, 4, 6, 9, 10, 12
	ip6LengthAt, ip6NextAt, ip6AddrsAt                                            = 4, 6, 8

	tcpSequenceAt, tcpOffsetAt, tcpFlagsAt, tcpChecksumAt = 4, 12, 13, 16

	protocolTCP = 6

	ip4DontFragment = 0x4000
	ip4Fragment     = 0x3fff // more fragments, and the offset of this one
)

const (
	tcpFIN = 1 << 0
	tcpPSH = 1 << 3
	tcpACK = 1 << 4
	tcpCWR = 1 << 7
)

// tcpPacket is an IP packet of TCP, whole, and where its parts begin.
type tcpPacket struct {
	bytes        []byte
	tcp, payload int
}

// parseTCP finds the TCP header of a packet. There is none in a fragment.
func parseTCP(packet []byte) (p tcpPacket, ok bool) {
	if len(packet) < ip4Len {
		return tcpPacket{}, false
	}
	p.bytes = packet
	switch packet[0] >> 4 {
	case 4:
		p.tcp = int(packet[0]&15) * 4
		ok = p.tcp >= ip4Len && packet[ip4ProtocolAt] == protocolTCP &&
			binary.BigEndian.Uint16(packet[ip4FragmentAt:])&ip4Fragment == 0
	case 6:
		p.tcp, ok = skipExtensions(packet)
	}
	if !ok || len(packet) < p.tcp+tcpLen {
		return tcpPacket{}, false
	}
	size := int(packet[p.tcp+tcpOffsetAt]>>4) * 4
	p.payload = p.tcp + size
	return p, size >= tcpLen && p.payload <= len(packet)
}

// skipExtensions returns where TCP begins in an IPv6 packet.
func skipExtensions(packet []byte) (at int, ok bool) {
	if len(packet) < ip6Len {
		return 0, false
	}
	at = ip6Len
	for next := packet[ip6NextAt]; next != protocolTCP; {
		const hopByHop, routing, destination = 0, 43, 60
		if next != hopByHop && next != routing && next != destination || len(packet) < at+8 {
			return 0, false
		}
		next, at = packet[at], at+8+int(packet[at+1])*8
	}
	return at, true
}

func (p tcpPacket) version() int { return int(p.bytes[0] >> 4) }

// pseudoHeader returns the sum of what a TCP checksum covers besides TCP: the
// addresses, the protocol and the length of header and payload.
func (p tcpPacket) pseudoHeader(length int) uint16 {
	addrs := p.bytes[ip4AddrsAt:ip4Len]
	if p.version() == 6 {
		addrs = p.bytes[ip6AddrsAt:ip6Len]
	}
	return sum(addrs, add(protocolTCP, uint16(length)))
}

// setLength makes the IP header that of a packet of so many bytes, all in all.
func (p tcpPacket) setLength(length int) {
	if p.version() == 6 {
		binary.BigEndian.PutUint16(p.bytes[ip6LengthAt:], uint16(length-ip6Len))
		return
	}
	binary.BigEndian.PutUint16(p.bytes[ip4LengthAt:], uint16(length))
	binary.BigEndian.PutUint16(p.bytes[ip4ChecksumAt:], 0)
	binary.BigEndian.PutUint16(p.bytes[ip4ChecksumAt:], ^sum(p.bytes[:p.tcp], 0))
}
