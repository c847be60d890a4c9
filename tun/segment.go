package tun

import "encoding/binary"

// splitter makes packets of what Linux hands over with a header in front: most
// are packets already, and a large one of TCP is cut into segments, as the
// kernel would have done it (tcp_gso_segment, inet_gso_segment).
//
// The headers of the next segment are made in place, in front of the payload of
// all, so that a segment is copied once.
type splitter struct {
	tcpPacket
	next  int    // where the payload of the next segment begins
	size  int    // bytes of payload in a segment; the last may have fewer
	flags byte   // of TCP, in the packet as it came
	base  uint16 // the sum of the pseudo-header without the length
}

// unpack copies the packet in a frame to buf. Of a packet to be cut it copies
// nothing: that stays where it is until more is false. What cannot be
// understood is no packet.
func (s *splitter) unpack(frame, buf []byte) (size int, ok bool) {
	h, packet, ok := parseVnetHeader(frame)
	switch {
	case !ok:
		return 0, false
	case h.gsoType != gsoNone:
		s.begin(h, packet)
		return 0, false
	case h.flags&vnetNeedsChecksum != 0 && !completeChecksum(packet, int(h.start), int(h.offset)):
		return 0, false
	}
	return copy(buf, packet), true
}

// begin prepares a packet to be cut, if it can be.
func (s *splitter) begin(h vnetHeader, packet []byte) {
	p, ok := parseTCP(packet)
	kind := h.gsoType &^ gsoECN
	if !ok || h.segment == 0 || kind != gsoTCP4 && kind != gsoTCP6 {
		return
	}
	length := len(packet) - p.tcp
	base := add(p.pseudoHeader(length), ^uint16(length))
	if h.flags&vnetNeedsChecksum != 0 {
		// The kernel's own sum is right also where a routing header holds the
		// address that counts.
		base = add(binary.BigEndian.Uint16(packet[p.tcp+tcpChecksumAt:]), ^uint16(length))
	}
	*s = splitter{tcpPacket: p, next: p.payload, size: int(h.segment), flags: packet[p.tcp+tcpFlagsAt], base: base}
}

// more reports whether there are segments left of a packet.
func (s *splitter) more() bool { return s.next < len(s.bytes) }

// segment copies the next segment to buf, and returns its length. As any packet
// that is longer than its buffer, it is cut off there.
func (s *splitter) segment(buf []byte) int {
	end := min(s.next+s.size, len(s.bytes))
	headers, payload := s.bytes[:s.payload], s.bytes[s.next:end]
	tcp := headers[s.tcp:]

	flags := s.flags
	if s.next > s.payload { // not the first
		flags &^= tcpCWR // RFC 3168, 6.1.2: one segment answers one mark
		advance32(tcp[tcpSequenceAt:], uint32(s.size))
		if s.version() == 4 {
			advance16(headers[ip4IDAt:], 1)
		}
	}
	if end < len(s.bytes) { // not the last
		flags &^= tcpFIN | tcpPSH
	}
	tcp[tcpFlagsAt] = flags
	s.setLength(len(headers) + len(payload))
	binary.BigEndian.PutUint16(tcp[tcpChecksumAt:], 0)
	pseudo := add(s.base, uint16(len(tcp)+len(payload)))
	binary.BigEndian.PutUint16(tcp[tcpChecksumAt:], ^sum(payload, sum(tcp, pseudo)))

	s.next = end
	n := copy(buf, headers)
	return n + copy(buf[n:], payload)
}

func advance16(b []byte, by uint16) { binary.BigEndian.PutUint16(b, binary.BigEndian.Uint16(b)+by) }
func advance32(b []byte, by uint32) { binary.BigEndian.PutUint32(b, binary.BigEndian.Uint32(b)+by) }
