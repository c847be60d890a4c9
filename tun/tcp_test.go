package tun

import (
	"encoding/binary"
	"slices"
)

// tcpSpec says what a TCP packet is to be made of.
type tcpSpec struct {
	six            bool
	to             byte // the number of the destination's network; 0 is 2
	class, ttl     byte
	id, fragment   uint16 // of IPv4, the latter with its flags
	flow           uint32 // label of IPv6
	ipOptions      []byte // of IPv4, a multiple of 4 bytes
	extensions     []byte // of IPv6: whole headers, the last of which names TCP
	extension      byte   // the number of the first; 0 is hop-by-hop options
	port           uint16 // of the source
	sequence, ack  uint32
	flags          byte
	window, urgent uint16
	options        []byte // a multiple of 4 bytes
	payload        []byte
}

// plainTCP returns what most packets of a download look like.
func plainTCP(six bool, size int) tcpSpec {
	timestamps := []byte{1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 3, 4}
	return tcpSpec{six: six, ttl: 64, id: 0xfffe, port: 443, sequence: 0xfffffff0, ack: 77,
		flags: tcpACK, window: 501, options: timestamps, payload: pattern(size)}
}

// pattern returns bytes that look random, and are the same each time.
func pattern(size int) []byte {
	b := make([]byte, size)
	x := uint32(size)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// next is the packet behind another one.
func (s tcpSpec) next(size int) tcpSpec {
	s.id++
	s.sequence += uint32(len(s.payload))
	s.payload = pattern(size)
	return s
}

// address4 returns 10.net.0.2, and address6 2001:db8:net::2.
func address4(net byte) []byte { return []byte{10, net, 0, 2} }
func address6(net byte) []byte { return []byte{0x20, 1, 0x0d, 0xb8, 0, net, 15: 2} }

func (s tcpSpec) bytes() []byte {
	be := binary.BigEndian
	tcp := be.AppendUint16(nil, s.port)
	tcp = be.AppendUint16(tcp, 5001)
	tcp = be.AppendUint32(tcp, s.sequence)
	tcp = be.AppendUint32(tcp, s.ack)
	tcp = append(tcp, byte(20+len(s.options))<<2, s.flags)
	tcp = be.AppendUint16(tcp, s.window)
	tcp = append(tcp, 0, 0)
	tcp = be.AppendUint16(tcp, s.urgent)
	tcp = slices.Concat(tcp, s.options, s.payload)

	var ip []byte
	to := max(s.to, 2)
	if s.six {
		next := byte(protocolTCP)
		if len(s.extensions) > 0 {
			next = s.extension
		}
		ip = be.AppendUint32(nil, 6<<28|uint32(s.class)<<20|s.flow)
		ip = be.AppendUint16(ip, uint16(len(s.extensions)+len(tcp)))
		ip = slices.Concat(ip, []byte{next, s.ttl}, address6(1), address6(to), s.extensions)
	} else {
		ip = []byte{byte(4<<4 | (20+len(s.ipOptions))/4), s.class}
		ip = be.AppendUint16(ip, uint16(20+len(s.ipOptions)+len(tcp)))
		ip = be.AppendUint16(ip, s.id)
		ip = be.AppendUint16(ip, s.fragment)
		ip = slices.Concat(ip, []byte{s.ttl, protocolTCP, 0, 0}, address4(1), address4(to), s.ipOptions)
	}
	packet := append(ip, tcp...)
	rightChecksums(packet, len(ip))
	return packet
}

// rightChecksums makes the checksums of a TCP packet right, slowly.
func rightChecksums(packet []byte, tcpAt int) {
	tcp := packet[tcpAt:]
	if packet[0]>>4 == 4 {
		packet[10], packet[11] = 0, 0
		binary.BigEndian.PutUint16(packet[10:], slowChecksum(packet[:tcpAt]))
	}
	tcp[16], tcp[17] = 0, 0
	binary.BigEndian.PutUint16(tcp[16:], slowChecksum(slices.Concat(slowPseudoHeader(packet, len(tcp)), tcp)))
}

func slowPseudoHeader(packet []byte, length int) []byte {
	addrs := packet[8:40]
	if packet[0]>>4 == 4 {
		addrs = packet[12:20]
	}
	return binary.BigEndian.AppendUint32(slices.Concat(addrs, []byte{0, 0, 0, 6}), uint32(length))
}

// slowChecksum is RFC 1071 as it reads.
func slowChecksum(b []byte) uint16 {
	var sum uint32
	for i := range b {
		word := uint32(b[i])
		if i%2 == 0 {
			word <<= 8
		}
		sum += word
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// superFrame returns a large packet as the kernel hands it over: its checksum
// is the sum of the pseudo-header, and the header in front of it lies about the
// length of its headers.
func (s tcpSpec) superFrame(segment int) []byte {
	packet := s.bytes()
	at := len(packet) - len(s.payload) - len(s.options) - 20
	partial := ^slowChecksum(slowPseudoHeader(packet, len(packet)-at))
	binary.BigEndian.PutUint16(packet[at+16:], partial)
	h := vnetHeader{flags: vnetNeedsChecksum, gsoType: gsoTCP4, headers: 9999,
		segment: uint16(segment), start: uint16(at), offset: 16}
	if s.six {
		h.gsoType = gsoTCP6
	}
	frame := append(make([]byte, vnetHeaderLen), packet...)
	h.put(frame)
	return frame
}

// slowPackets makes packets of a frame with a header in front, in the plainest
// way.
func slowPackets(frame []byte) (packets [][]byte) {
	be := binary.BigEndian
	h, packet, _ := parseVnetHeader(frame)
	if h.gsoType == gsoNone {
		return [][]byte{slices.Clone(packet)}
	}
	at := int(h.start)
	headers := packet[:at+int(packet[at+12]>>4)*4]
	pieces := slices.Collect(slices.Chunk(packet[len(headers):], int(h.segment)))
	for i, payload := range pieces {
		p := slices.Concat(headers, payload)
		if p[0]>>4 == 4 {
			be.PutUint16(p[2:], uint16(len(p)))
			be.PutUint16(p[4:], be.Uint16(p[4:])+uint16(i))
		} else {
			be.PutUint16(p[4:], uint16(len(p)-40))
		}
		be.PutUint32(p[at+4:], be.Uint32(p[at+4:])+uint32(i)*uint32(h.segment))
		if i > 0 {
			p[at+13] &^= tcpCWR
		}
		if i < len(pieces)-1 {
			p[at+13] &^= tcpFIN | tcpPSH
		}
		rightChecksums(p, at)
		packets = append(packets, p)
	}
	return packets
}

// split makes packets of a frame as the device does.
func split(s *splitter, frame []byte) (packets [][]byte) {
	buf := make([]byte, maxFrame)
	if n, ok := s.unpack(slices.Clone(frame), buf); ok {
		packets = append(packets, slices.Clone(buf[:n]))
	}
	for s.more() {
		packets = append(packets, slices.Clone(buf[:s.segment(buf)]))
	}
	return packets
}
