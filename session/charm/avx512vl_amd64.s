//go:build !purego

#include "textflag.h"

// The permutation with AVX-512VL, which rotates lanes and combines three
// planes in one instruction each. Every plane of the state is one register,
// from the first block of a message to the last.
//
// What bounds the speed is not the number of instructions but the chain of
// those that wait for each other, and to keep that short the state turns. In
// the specification the parity of a column adds to the next column (theta), and
// the plane b moves on by one column (rho-west). Here the parity stays where it
// is, and so does b, while each round turns the planes a and c back by one
// lane, for which nothing has to wait. Twelve rounds turn the state full
// circle, three times.

// The planes of the state.
#define a X0
#define b X1
#define c X2

// The parity of the columns, rotated by 5 and by 14: as it adds to a and c,
// and as it adds to b.
#define p X3
#define p5 X4
#define p14 X5
#define q5 X6
#define q14 X7

// Copies of the planes a and b; eastMask.
#define olda X8
#define oldb X9
#define east X10

// Orders of lanes for VPSHUFD: every lane of the result comes from the one
// after it, or from the one before it.
#define BACK $0x39
#define NEXT $0x93

// Truth tables for VPTERNLOGD table, x, y, z.
#define XOR $0x96 // z = z ^ y ^ x
#define CHI $0xd2 // z = z ^ (~y & x)

// roundConstant holds the constants of Xoodoo, each in the lane that column 0
// has turned to by its round.
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

// eastMask moves every lane of the plane c by two and rotates it by 8, as
// rho-east does.
DATA ·eastMask+0(SB)/8, $0x0e0d0c0f0a09080b
DATA ·eastMask+8(SB)/8, $0x0605040702010003
GLOBL ·eastMask(SB), RODATA|NOPTR, $16

// ROUND takes ten cycles on Zen 4. Nine are the chain: b rotated, p summed up
// and rotated, c added to and rotated, chi; a rotation takes two. The order of
// the instructions is the best of the many that were measured there. Others are
// as right and take up to twelve cycles.
#define ROUND(i) \
	VPSHUFD    BACK, a, olda;                       /* turn */ \
	VMOVDQA    a, p;                                /* theta */ \
	VPTERNLOGD XOR, b, c, p; \
	VPSHUFD    BACK, c, c;                          /* turn */ \
	VPROLD     $14, p, p14; \
	VPSHUFD    NEXT, p14, q14; \
	VPXOR      ·roundConstant+16*i(SB), olda, a;    /* iota */ \
	VPROLD     $5, p, p5; \
	VPSHUFD    NEXT, p5, q5; \
	VPTERNLOGD XOR, p5, p14, c; \
	VPROLD     $11, c, c;                           /* rho-west */ \
	VPTERNLOGD XOR, q5, q14, b; \
	VPTERNLOGD XOR, p5, p14, a; \
	VMOVDQA    b, oldb;                             /* chi */ \
	VPTERNLOGD CHI, a, c, b; \
	VPROLD     $1, b, b;                            /* rho-east */ \
	VMOVDQA    a, olda; \
	VPTERNLOGD CHI, c, oldb, a; \
	VPTERNLOGD CHI, oldb, olda, c; \
	VPSHUFB    east, c, c                           /* rho-east */

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
