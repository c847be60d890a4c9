package tun

import (
	"encoding/binary"
	"math/bits"
)

// sum adds the bytes of b, as 16-bit words in network byte order, to a sum that
// has begun: the one's complement sum of RFC 1071, whose complement is the
// checksum of IP, TCP and UDP. An odd last byte is the high one of a word, so
// what is added in parts must have even lengths up to the last.
//
// The sum does not depend on the byte order that it is made in, once that of
// the result is put right (RFC 1071, 2 B): so it adds the machine's own words,
// four times eight bytes a round, with one chain of carries.
func sum(b []byte, begun uint16) uint16 {
	native := binary.NativeEndian
	total, carry := uint64(swapped(begun)), uint64(0)
	for len(b) >= 32 {
		total, carry = bits.Add64(total, native.Uint64(b), 0)
		total, carry = bits.Add64(total, native.Uint64(b[8:]), carry)
		total, carry = bits.Add64(total, native.Uint64(b[16:]), carry)
		total, carry = bits.Add64(total, native.Uint64(b[24:]), carry)
		total, carry = bits.Add64(total, 0, carry)
		total += carry
		b = b[32:]
	}
	for len(b) >= 8 {
		total, carry = bits.Add64(total, native.Uint64(b), 0)
		total += carry
		b = b[8:]
	}
	if len(b) > 0 {
		var rest [8]byte
		copy(rest[:], b)
		total, carry = bits.Add64(total, native.Uint64(rest[:]), 0)
		total += carry
	}
	folded := total>>32 + total&0xffffffff
	folded = folded>>32 + folded&0xffffffff
	folded = folded>>16 + folded&0xffff
	folded = folded>>16 + folded&0xffff
	folded = folded>>16 + folded&0xffff
	return swapped(uint16(folded))
}

// swapped turns a number in network byte order into the machine's own, or back.
func swapped(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// add adds two one's complement sums.
func add(a, b uint16) uint16 {
	n := uint32(a) + uint32(b)
	return uint16(n + n>>16)
}

// completeChecksum puts the checksum of a packet from start on where there is
// the sum of its pseudo-header so far, offset bytes behind start. It reports
// whether that is inside the packet.
func completeChecksum(packet []byte, start, offset int) bool {
	if start+offset+2 > len(packet) {
		return false
	}
	c := ^sum(packet[start:], 0)
	if c == 0 {
		c = 0xffff // as zero it would mean none to UDP, and is the same number to all
	}
	binary.BigEndian.PutUint16(packet[start+offset:], c)
	return true
}
