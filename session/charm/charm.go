// Package charm is the Charm cipher, with which DSVPN authenticates its
// handshake and encrypts its packets: a duplex construction over the Xoodoo
// permutation with twelve rounds.
//
// A [State] is a running transcript. Each operation goes on from where the
// one before it ended, so a sequence of messages authenticates its own order:
// a message that is lost, repeated or moved makes every later tag wrong.
//
// Bytes enter and leave in little-endian order on every machine. Nothing
// branches on, or looks up memory by, a secret. No operation allocates.
//
// There is assembly for amd64, with AVX-512VL or SSSE3, and for arm64. Other
// machines run the portable code, and so does what is built with the tag
// purego. A message cannot be taken in parts that go side by side, each block
// has to wait for the one before it, so wider registers would be of no use.
package charm

import (
	"crypto/subtle"
	"encoding/binary"
)

// Sizes, in bytes.
const (
	KeySize  = 32 // of a key
	IVSize   = 16 // of an initialisation vector
	HashSize = 32 // of a hash
	TagSize  = 16 // of an authentication tag
)

// rate is the number of bytes, words 0 to 3 of the state, through which data
// enters and leaves between two permutations.
const rate = 16

// What the last block of a message adds to the last word of the state.
const (
	finalBit   = 1 << 24 // the message ends here
	fullBit    = 1 << 25 // the last block is full, and so carries no padding
	encryptBit = 1 << 26 // the message is encrypted, not hashed
)

// State is the state of the cipher: twelve words, as three planes of four.
// A copy goes on independently of its original.
type State struct {
	st [12]uint32
}

// New makes a state from a key and an initialisation vector; a nil iv stands
// for zeros.
func New(key *[KeySize]byte, iv *[IVSize]byte) State {
	var s State
	if iv != nil {
		absorb(&s.st, iv[:])
	}
	for i := range 8 {
		s.st[4+i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	permute(&s.st)
	return s
}

// Hash absorbs msg and returns 32 bytes that depend on everything the state
// has seen.
func (s *State) Hash(msg []byte) (sum [HashSize]byte) {
	n := whole(msg)
	absorbBlocks(&s.st, msg[:n])

	last := pad(msg[n:])
	s.absorbLast(&last, len(msg)-n, 0)

	s.squeeze((*[rate]byte)(sum[:rate]))
	s.squeeze((*[rate]byte)(sum[rate:]))
	return sum
}

// Encrypt encrypts src into dst, which must be at least as long and may be
// the same memory, and returns the authentication tag.
func (s *State) Encrypt(dst, src []byte) (tag [TagSize]byte) {
	dst = dst[:len(src)]
	n := whole(src)
	encryptBlocks(&s.st, dst[:n], src[:n])

	last := pad(src[n:])
	keystream := s.keystream()
	subtle.XORBytes(dst[n:], last[:len(src)-n], keystream[:])
	s.absorbLast(&last, len(src)-n, encryptBit)

	s.squeeze(&tag)
	return tag
}

// Decrypt decrypts src into dst, which must be at least as long and may be
// the same memory, and reports whether tag, the first 1 to 16 bytes of what
// Encrypt returned, is right. If it is not, what was written to dst is wiped,
// and the state is of no more use.
func (s *State) Decrypt(dst, src, tag []byte) bool {
	if len(tag) == 0 || len(tag) > TagSize {
		panic("charm: a tag is 1 to 16 bytes long")
	}
	dst = dst[:len(src)]
	n := whole(src)
	decryptBlocks(&s.st, dst[:n], src[:n])

	keystream := s.keystream()
	subtle.XORBytes(dst[n:], src[n:], keystream[:])
	last := pad(dst[n:])
	s.absorbLast(&last, len(src)-n, encryptBit)

	var want [TagSize]byte
	s.squeeze(&want)
	if subtle.ConstantTimeCompare(want[:len(tag)], tag) != 1 {
		clear(dst)
		return false
	}
	return true
}

// Wipe forgets the state.
func (s *State) Wipe() { clear(s.st[:]) }

// whole is the number of leading bytes of a message that are absorbed as
// blocks of their own. The last block holds what follows: up to and including
// 16 bytes, and none only if the message is empty.
func whole(msg []byte) int {
	if len(msg) == 0 {
		return 0
	}
	return (len(msg) - 1) &^ (rate - 1)
}

// pad makes the last block of a message.
func pad(msg []byte) (block [rate]byte) {
	if n := copy(block[:], msg); n < rate {
		block[n] = 0x80
	}
	return block
}

// absorbLast absorbs the padded last block of a message, of which n bytes are
// the message's.
func (s *State) absorbLast(block *[rate]byte, n int, mode uint32) {
	absorb(&s.st, block[:])
	s.st[11] ^= finalBit | mode
	if n == rate {
		s.st[11] ^= fullBit
	}
	permute(&s.st)
}

// keystream is what the next block is encrypted with.
func (s *State) keystream() (out [rate]byte) {
	emit(out[:], &s.st)
	return out
}

// squeeze outputs the rate and moves on.
func (s *State) squeeze(out *[rate]byte) {
	emit(out[:], &s.st)
	permute(&s.st)
}
