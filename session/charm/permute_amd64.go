//go:build !purego

package charm

import "golang.org/x/sys/cpu"

// The implementations for this architecture. Each needs more of the machine
// than the one before it, and is faster.
const (
	portable = iota
	ssse3
	avx512vl
)

// fastest is the best implementation that this machine can run.
var fastest = func() int {
	switch {
	case cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL:
		return avx512vl
	case cpu.X86.HasSSSE3:
		return ssse3
	}
	return portable
}()

// inUse is the fastest implementation, unless a test wants another.
var inUse = fastest

func permute(st *[12]uint32) {
	switch inUse {
	case avx512vl:
		permuteAVX512VL(st)
	case ssse3:
		permuteSSSE3(st)
	default:
		permutePortable(st)
	}
}

func absorbBlocks(st *[12]uint32, src []byte) {
	switch inUse {
	case avx512vl:
		absorbBlocksAVX512VL(st, src)
	case ssse3:
		absorbBlocksSSSE3(st, src)
	default:
		absorbBlocksPortable(st, src)
	}
}

// encryptBlocks needs a dst at least as long as src: what is in assembly does
// not check. The same goes for decryptBlocks.
func encryptBlocks(st *[12]uint32, dst, src []byte) {
	switch inUse {
	case avx512vl:
		encryptBlocksAVX512VL(st, dst, src)
	case ssse3:
		encryptBlocksSSSE3(st, dst, src)
	default:
		encryptBlocksPortable(st, dst, src)
	}
}

func decryptBlocks(st *[12]uint32, dst, src []byte) {
	switch inUse {
	case avx512vl:
		decryptBlocksAVX512VL(st, dst, src)
	case ssse3:
		decryptBlocksSSSE3(st, dst, src)
	default:
		decryptBlocksPortable(st, dst, src)
	}
}

//go:noescape
func permuteSSSE3(st *[12]uint32)

//go:noescape
func absorbBlocksSSSE3(st *[12]uint32, src []byte)

//go:noescape
func encryptBlocksSSSE3(st *[12]uint32, dst, src []byte)

//go:noescape
func decryptBlocksSSSE3(st *[12]uint32, dst, src []byte)

//go:noescape
func permuteAVX512VL(st *[12]uint32)

//go:noescape
func absorbBlocksAVX512VL(st *[12]uint32, src []byte)

//go:noescape
func encryptBlocksAVX512VL(st *[12]uint32, dst, src []byte)

//go:noescape
func decryptBlocksAVX512VL(st *[12]uint32, dst, src []byte)
