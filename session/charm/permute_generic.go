//go:build purego || !(amd64 || arm64)

package charm

func permute(st *[12]uint32)                        { permutePortable(st) }
func absorbBlocks(st *[12]uint32, src []byte)       { absorbBlocksPortable(st, src) }
func encryptBlocks(st *[12]uint32, dst, src []byte) { encryptBlocksPortable(st, dst, src) }
func decryptBlocks(st *[12]uint32, dst, src []byte) { decryptBlocksPortable(st, dst, src) }
