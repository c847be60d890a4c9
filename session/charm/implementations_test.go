package charm

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// each runs a test with every implementation that this machine can run.
func each(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	defer use(len(implementations) - 1)
	for i, name := range implementations {
		use(i)
		t.Run(name, test)
	}
}

// A script is a sequence of operations on one state, four bytes each: what to
// do, the length of the message (two bytes) and where it lies in memory.
const opSize = 4

const (
	opHash = iota
	opEncrypt
	opDecrypt
	opForged // decrypt, with a wrong tag
	opKinds
)

// length makes half of the messages no longer than 300 bytes, and none longer
// than a jumbo frame.
func length(n uint16) int {
	if n < 1<<15 {
		return int(n) % 301
	}
	return int(n) % 9001
}

// play plays a script with the implementation in use, and returns everything
// that came out.
func play(t *testing.T, key *[KeySize]byte, iv *[IVSize]byte, script []byte) (out []byte) {
	s := New(key, iv)
	random := rand.New(rand.NewChaCha8(*key))
	for ; len(script) >= opSize; script = script[opSize:] {
		op, place := script[0]%opKinds, int(script[3])
		src, srcIntact := guarded(length(binary.LittleEndian.Uint16(script[1:])), place%16)
		for i := range src {
			src[i] = byte(random.Uint32())
		}
		dst, dstIntact := src, srcIntact
		if place&0x80 != 0 {
			dst, dstIntact = guarded(len(src), place/8%16)
		}

		switch op {
		case opHash:
			sum := s.Hash(src)
			out = append(out, sum[:]...)
		case opEncrypt:
			tag := s.Encrypt(dst, src)
			out = append(out, tag[:]...)
		case opDecrypt, opForged:
			message, sealer := bytes.Clone(src), s
			tag := sealer.Encrypt(src, src)
			tag[0] ^= op - opDecrypt
			if ok := s.Decrypt(dst, src, tag[:]); ok != (op == opDecrypt) {
				t.Fatalf("%d bytes: Decrypt = %v", len(src), ok)
			}
			if op == opDecrypt && !bytes.Equal(dst, message) {
				t.Fatalf("%d bytes: encryption and decryption do not agree", len(src))
			}
			if s != sealer {
				t.Fatalf("%d bytes: the states after encryption and decryption differ", len(src))
			}
		}
		if !srcIntact() || !dstIntact() {
			t.Fatalf("operation %d on %d bytes wrote beside them", op, len(src))
		}
		out = append(append(out, dst...), s.bytes()...)
	}
	return out
}

// guarded returns n bytes in memory, offset bytes off alignment, and a
// function that tells whether the memory around them is untouched.
func guarded(n, offset int) (b []byte, intact func() bool) {
	const margin, guard = 64, 0xa5
	memory := bytes.Repeat([]byte{guard}, margin+offset+n+margin)
	before, rest := memory[:margin+offset], memory[margin+offset:]
	return rest[:n:n], func() bool {
		return bytes.Count(before, []byte{guard}) == len(before) && bytes.Count(rest[n:], []byte{guard}) == margin
	}
}

// Every implementation does what the portable one does.
func FuzzImplementations(f *testing.F) {
	const longest = 128 * opSize
	for first := 0; first <= 300; first += 25 { // every operation on every short length
		var script []byte
		for n := first; n < first+25; n++ {
			for op := range byte(opKinds) {
				script = append(script, op, byte(n), byte(n>>8), byte(7*n)^op<<7)
			}
		}
		f.Add([]byte("key"), []byte("iv"), script)
	}
	f.Add([]byte{}, []byte{}, []byte{opEncrypt, 0xff, 0xff, 1, opDecrypt, 0, 0xc0, 0x82, opHash, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, k, v, script []byte) {
		var key [KeySize]byte
		var iv [IVSize]byte
		copy(key[:], k)
		copy(iv[:], v)
		script = script[:min(len(script), longest)]

		defer use(len(implementations) - 1)
		use(0)
		want := play(t, &key, &iv, script)
		for i, name := range implementations {
			use(i)
			if !bytes.Equal(play(t, &key, &iv, script), want) {
				t.Errorf("%s and %s do not agree", name, implementations[0])
			}
		}
	})
}
