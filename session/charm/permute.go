package charm

import (
	"encoding/binary"
	"math/bits"
)

// This file is the portable heart of the cipher: the permutation, and the
// loops over whole 16-byte blocks.

// roundConstants are the twelve of Xoodoo, in the order they are used.
var roundConstants = [12]uint32{
	0x058, 0x038, 0x3c0, 0x0d0, 0x120, 0x014, 0x060, 0x02c, 0x380, 0x0f0, 0x1a0, 0x012,
}

// permute is Xoodoo. The state lives in twelve variables for all its rounds,
// and a lane that moves within its plane does so by a change of name.
func permute(st *[12]uint32) {
	a0, a1, a2, a3 := st[0], st[1], st[2], st[3]
	b0, b1, b2, b3 := st[4], st[5], st[6], st[7]
	c0, c1, c2, c3 := st[8], st[9], st[10], st[11]

	for _, rc := range &roundConstants {
		// theta: each column gets the parity of the column before it.
		e1 := spread(a0 ^ b0 ^ c0)
		e2 := spread(a1 ^ b1 ^ c1)
		e3 := spread(a2 ^ b2 ^ c2)
		e0 := spread(a3 ^ b3 ^ c3)

		// rho-west takes the b of a column from the column before it, iota
		// adds the constant, and rho-east puts the new c two columns on.
		x0, y0, z2 := mix(a0^e0^rc, b3^e3, c0^e0)
		x1, y1, z3 := mix(a1^e1, b0^e0, c1^e1)
		x2, y2, z0 := mix(a2^e2, b1^e1, c2^e2)
		x3, y3, z1 := mix(a3^e3, b2^e2, c3^e3)

		a0, a1, a2, a3 = x0, x1, x2, x3
		b0, b1, b2, b3 = y0, y1, y2, y3
		c0, c1, c2, c3 = z0, z1, z2, z3
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

// absorbBlocks absorbs blocks none of which is the last of its message.
func absorbBlocks(st *[12]uint32, src []byte) {
	for ; len(src) >= rate; src = src[rate:] {
		absorb(st, src)
		permute(st)
	}
}

// encryptBlocks encrypts blocks none of which is the last of its message:
// the rate with a plaintext block absorbed is the ciphertext block.
func encryptBlocks(st *[12]uint32, dst, src []byte) {
	for ; len(src) >= rate; dst, src = dst[rate:], src[rate:] {
		absorb(st, src)
		emit(dst, st)
		permute(st)
	}
}

// decryptBlocks is the inverse of encryptBlocks: the rate becomes the
// ciphertext block, and what it differs by from before is the plaintext.
func decryptBlocks(st *[12]uint32, dst, src []byte) {
	for ; len(src) >= rate; dst, src = dst[rate:], src[rate:] {
		c0 := binary.LittleEndian.Uint32(src[0:])
		c1 := binary.LittleEndian.Uint32(src[4:])
		c2 := binary.LittleEndian.Uint32(src[8:])
		c3 := binary.LittleEndian.Uint32(src[12:])
		st[0], st[1], st[2], st[3] = st[0]^c0, st[1]^c1, st[2]^c2, st[3]^c3
		emit(dst, st)
		st[0], st[1], st[2], st[3] = c0, c1, c2, c3
		permute(st)
	}
}
