//go:build !purego

#include "textflag.h"

// Two implementations, one with AVX-512VL and one with SSSE3. In both, each
// plane of the state is one register, from the first block of a message to
// the last. What bounds the speed is not the number of instructions but the
// chain of those that wait for each other.
//
// To keep that chain short the state turns. In the specification the parity
// of a column adds to the next column (theta), and the plane b moves on by one
// column (rho-west). Here the parity stays where it is, and so does b, while
// each round turns the planes a and c back by one lane, for which nothing has
// to wait. Twelve rounds turn the state full circle, three times.

// The planes of the state; rho-east as a mask of PSHUFB.
#define a X0
#define b X1
#define c X2
#define east X15

// Orders of lanes for PSHUFD, lowest last: each lane of the result comes from
// the one after it, or the one before it.
#define BACK $0x39
#define NEXT $0x93

// roundConstant holds those of Xoodoo. Each stands in the lane that column 0
// has reached in its round.
DATA ·roundConstant+0x0c(SB)/4, $0x058
DATA ·roundConstant+0x18(SB)/4, $0x038
DATA ·roundConstant+0x24(SB)/4, $0x3c0
DATA ·roundConstant+0x30(SB)/4, $0x0d0
DATA ·roundConstant+0x4c(SB)/4, $0x120
DATA ·roundConstant+0x58(SB)/4, $0x014
DATA ·roundConstant+0x64(SB)/4, $0x060
DATA ·roundConstant+0x70(SB)/4, $0x02c
DATA ·roundConstant+0x8c(SB)/4, $0x380
DATA ·roundConstant+0x98(SB)/4, $0x0f0
DATA ·roundConstant+0xa4(SB)/4, $0x1a0
DATA ·roundConstant+0xb0(SB)/4, $0x012
GLOBL ·roundConstant(SB), RODATA|NOPTR, $192

// eastMask moves every lane by two, and rotates it by a byte.
DATA ·eastMask+0(SB)/8, $0x0e0d0c0f0a09080b
DATA ·eastMask+8(SB)/8, $0x0605040702010003
GLOBL ·eastMask(SB), RODATA|NOPTR, $16

// AVX-512VL: eight cycles wait for each other in a round, where rotating takes
// two of them, or six.

// XOR and CHI are truth tables for VPTERNLOGD table, x, y, z.
#define XOR $0x96 // z = z ^ y ^ x
#define CHI $0xd2 // z = z ^ (~y & x)

#define ROUND(i) \
	VPSHUFD BACK, a, X6; \
	VMOVDQA a, X3; \
	VPTERNLOGD XOR, b, c, X3; \
	VPSHUFD BACK, c, c; \
	VPROLD $14, X3, X4; \
	VPSHUFD NEXT, X4, X8; \
	VPXOR ·roundConstant+16*i(SB), X6, a; \
	VPROLD $5, X3, X5; \
	VPSHUFD NEXT, X5, X9; \
	VPTERNLOGD XOR, X4, X5, c; \
	VPROLD $11, c, c; \
	VPTERNLOGD XOR, X8, X9, b; \
	VPTERNLOGD XOR, X4, X5, a; \
	VMOVDQA b, X7; \
	VPTERNLOGD CHI, a, c, b; \
	VPROLD $1, b, b; \
	VMOVDQA a, X6; \
	VPTERNLOGD CHI, c, X7, a; \
	VPTERNLOGD CHI, X7, X6, c; \
	VPSHUFB east, c, c

// xoodooAVX512VL permutes the planes a, b and c.
TEXT xoodooAVX512VL<>(SB), NOSPLIT, $0
	ROUND(0)
	ROUND(1)
	ROUND(2)
	ROUND(3)
	ROUND(4)
	ROUND(5)
	ROUND(6)
	ROUND(7)
	ROUND(8)
	ROUND(9)
	ROUND(10)
	ROUND(11)
	RET

#define LOAD(st) \
	VMOVDQU 0(st), a; \
	VMOVDQU 16(st), b; \
	VMOVDQU 32(st), c; \
	VMOVDQU ·eastMask(SB), east

#define STORE(st) \
	VMOVDQU a, 0(st); \
	VMOVDQU b, 16(st); \
	VMOVDQU c, 32(st)

// func permuteAVX512VL(st *[12]uint32)
TEXT ·permuteAVX512VL(SB), NOSPLIT, $0-8
	MOVQ st+0(FP), AX
	LOAD(AX)
	CALL xoodooAVX512VL<>(SB)
	STORE(AX)
	RET

// func absorbBlocksAVX512VL(st *[12]uint32, src []byte)
TEXT ·absorbBlocksAVX512VL(SB), NOSPLIT, $0-32
	MOVQ st+0(FP), AX
	MOVQ src_base+8(FP), SI
	MOVQ src_len+16(FP), CX
	LOAD(AX)
	JMP  check

block:
	VPXOR (SI), a, a
	CALL  xoodooAVX512VL<>(SB)
	ADDQ  $16, SI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET

// func encryptBlocksAVX512VL(st *[12]uint32, dst, src []byte)
TEXT ·encryptBlocksAVX512VL(SB), NOSPLIT, $0-56
	MOVQ st+0(FP), AX
	MOVQ dst_base+8(FP), DI
	MOVQ src_base+32(FP), SI
	MOVQ src_len+40(FP), CX
	LOAD(AX)
	JMP  check

block:
	VPXOR   (SI), a, a
	VMOVDQU a, (DI)
	CALL    xoodooAVX512VL<>(SB)
	ADDQ    $16, SI
	ADDQ    $16, DI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET

// func decryptBlocksAVX512VL(st *[12]uint32, dst, src []byte)
TEXT ·decryptBlocksAVX512VL(SB), NOSPLIT, $0-56
	MOVQ st+0(FP), AX
	MOVQ dst_base+8(FP), DI
	MOVQ src_base+32(FP), SI
	MOVQ src_len+40(FP), CX
	LOAD(AX)
	JMP  check

block:
	VPXOR   (SI), a, X3
	VMOVDQU (SI), a
	VMOVDQU X3, (DI)
	CALL    xoodooAVX512VL<>(SB)
	ADDQ    $16, SI
	ADDQ    $16, DI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET
