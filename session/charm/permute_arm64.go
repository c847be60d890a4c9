//go:build !purego

package charm

// The implementations for this architecture.
const (
	portable = iota
	words
)

// inUse is the faster implementation, unless a test wants the other.
var inUse = words

func permute(st *[12]uint32) {
	if inUse == words {
		permuteWords(st)
	} else {
		permutePortable(st)
	}
}

func absorbBlocks(st *[12]uint32, src []byte) {
	if inUse == words {
		absorbBlocksWords(st, src)
	} else {
		absorbBlocksPortable(st, src)
	}
}

// encryptBlocks needs a dst at least as long as src: what is in assembly does
// not check. The same goes for decryptBlocks.
func encryptBlocks(st *[12]uint32, dst, src []byte) {
	if inUse == words {
		encryptBlocksWords(st, dst, src)
	} else {
		encryptBlocksPortable(st, dst, src)
	}
}

func decryptBlocks(st *[12]uint32, dst, src []byte) {
	if inUse == words {
		decryptBlocksWords(st, dst, src)
	} else {
		decryptBlocksPortable(st, dst, src)
	}
}

//go:noescape
func permuteWords(st *[12]uint32)

//go:noescape
func absorbBlocksWords(st *[12]uint32, src []byte)

//go:noescape
func encryptBlocksWords(st *[12]uint32, dst, src []byte)

//go:noescape
func decryptBlocksWords(st *[12]uint32, dst, src []byte)
