package charm

import (
	"encoding/binary"
	"math/bits"
)

// This file is the portable heart of the cipher: the permutation, and the
// loops over whole 16-byte blocks. It is what every machine can run, and what
// the implementations in assembly must agree with.

// roundConstants are those of Xoodoo, in the order they are used, four rounds
// a line.
var roundConstants = [3][4]uint32{
	{0x058, 0x038, 0x3c0, 0x0d0},
	{0x120, 0x014, 0x060, 0x02c},
	{0x380, 0x0f0, 0x1a0, 0x012},
}

// permutePortable is Xoodoo. The state lives in twelve variables for all its
// rounds. A lane that moves within its plane does so by a change of name: a
// round moves the b plane by one lane and the c plane by two, so that after
// four rounds every lane bears its own name again.
//
// A round is theta (every column gets e, made from the parity of the column
// before it), rho-west (a column takes its b from the column before it), iota
// (the round constant), then chi and the rotations around it.
func permutePortable(st *[12]uint32) {
	a0, a1, a2, a3 := st[0], st[1], st[2], st[3]
	b0, b1, b2, b3 := st[4], st[5], st[6], st[7]
	c0, c1, c2, c3 := st[8], st[9], st[10], st[11]
	var e0, e1, e2, e3 uint32

	for i := range roundConstants {
		rc := &roundConstants[i]

		e0, e1 = spread(a3^b3^c3), spread(a0^b0^c0)
		e2, e3 = spread(a1^b1^c1), spread(a2^b2^c2)
		a0, b3, c0 = mix(a0^e0^rc[0], b3^e3, c0^e0)
		a1, b0, c1 = mix(a1^e1, b0^e0, c1^e1)
		a2, b1, c2 = mix(a2^e2, b1^e1, c2^e2)
		a3, b2, c3 = mix(a3^e3, b2^e2, c3^e3)

		e0, e1 = spread(a3^b2^c1), spread(a0^b3^c2)
		e2, e3 = spread(a1^b0^c3), spread(a2^b1^c0)
		a0, b2, c2 = mix(a0^e0^rc[1], b2^e3, c2^e0)
		a1, b3, c3 = mix(a1^e1, b3^e0, c3^e1)
		a2, b0, c0 = mix(a2^e2, b0^e1, c0^e2)
		a3, b1, c1 = mix(a3^e3, b1^e2, c1^e3)

		e0, e1 = spread(a3^b1^c3), spread(a0^b2^c0)
		e2, e3 = spread(a1^b3^c1), spread(a2^b0^c2)
		a0, b1, c0 = mix(a0^e0^rc[2], b1^e3, c0^e0)
		a1, b2, c1 = mix(a1^e1, b2^e0, c1^e1)
		a2, b3, c2 = mix(a2^e2, b3^e1, c2^e2)
		a3, b0, c3 = mix(a3^e3, b0^e2, c3^e3)

		e0, e1 = spread(a3^b0^c1), spread(a0^b1^c2)
		e2, e3 = spread(a1^b2^c3), spread(a2^b3^c0)
		a0, b0, c2 = mix(a0^e0^rc[3], b0^e3, c2^e0)
		a1, b1, c3 = mix(a1^e1, b1^e0, c3^e1)
		a2, b2, c0 = mix(a2^e2, b2^e1, c0^e2)
		a3, b3, c1 = mix(a3^e3, b3^e2, c1^e3)
	}

	st[0], st[1], st[2], st[3] = a0, a1, a2, a3
	st[4], st[5], st[6], st[7] = b0, b1, b2, b3
	st[8], st[9], st[10], st[11] = c0, c1, c2, c3
}

// spread is what the parity of a column adds to the next one.
func spread(parity uint32) uint32 {
	return bits.RotateLeft32(parity, 5) ^ bits.RotateLeft32(parity, 14)
}

// mix is chi on one column, between the rotations of rho-west and rho-east.
func mix(a, b, c uint32) (x, y, z uint32) {
	c = bits.RotateLeft32(c, 11)
	return a ^ (^b & c), bits.RotateLeft32(b^(^c&a), 1), bits.RotateLeft32(c^(^a&b), 8)
}

// absorb adds one block, the first 16 bytes of block, to the rate.
func absorb(st *[12]uint32, block []byte) {
	_ = block[15]
	st[0] ^= binary.LittleEndian.Uint32(block[0:])
	st[1] ^= binary.LittleEndian.Uint32(block[4:])
	st[2] ^= binary.LittleEndian.Uint32(block[8:])
	st[3] ^= binary.LittleEndian.Uint32(block[12:])
}

// emit writes the rate to the first 16 bytes of block.
func emit(block []byte, st *[12]uint32) {
	_ = block[15]
	binary.LittleEndian.PutUint32(block[0:], st[0])
	binary.LittleEndian.PutUint32(block[4:], st[1])
	binary.LittleEndian.PutUint32(block[8:], st[2])
	binary.LittleEndian.PutUint32(block[12:], st[3])
}

// absorbBlocksPortable absorbs blocks none of which is the last of its message.
func absorbBlocksPortable(st *[12]uint32, src []byte) {
	for ; len(src) >= rate; src = src[rate:] {
		absorb(st, src)
		permutePortable(st)
	}
}

// encryptBlocksPortable encrypts blocks none of which is the last of its
// message: the rate with a plaintext block absorbed is the ciphertext block.
func encryptBlocksPortable(st *[12]uint32, dst, src []byte) {
	for ; len(src) >= rate; dst, src = dst[rate:], src[rate:] {
		absorb(st, src)
		emit(dst, st)
		permutePortable(st)
	}
}

// decryptBlocksPortable is the inverse of encryptBlocksPortable: the rate
// becomes the ciphertext block, and what it differs by from before is the
// plaintext.
func decryptBlocksPortable(st *[12]uint32, dst, src []byte) {
	for ; len(src) >= rate; dst, src = dst[rate:], src[rate:] {
		c0 := binary.LittleEndian.Uint32(src[0:])
		c1 := binary.LittleEndian.Uint32(src[4:])
		c2 := binary.LittleEndian.Uint32(src[8:])
		c3 := binary.LittleEndian.Uint32(src[12:])
		st[0], st[1], st[2], st[3] = st[0]^c0, st[1]^c1, st[2]^c2, st[3]^c3
		emit(dst, st)
		st[0], st[1], st[2], st[3] = c0, c1, c2, c3
		permutePortable(st)
	}
}
