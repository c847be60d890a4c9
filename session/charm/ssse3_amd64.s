//go:build !purego

#include "textflag.h"

// The permutation with SSSE3, for machines without AVX-512VL. It turns the
// state as avx512vl_amd64.s does, where that is explained.

#define a X0
#define b X1
#define c X2
#define east X15

#define BACK $0x39
#define NEXT $0x93

// ROTATED sets y to x, every lane rotated left by n. It needs a register z.
#define ROTATED(n, x, y, z) \
	MOVO  x, y; \
	MOVO  x, z; \
	PSLLL $n, y; \
	PSRLL $(32-n), z; \
	POR   z, y

#define ROTATE(n, x, z) \
	MOVO  x, z; \
	PSLLL $n, x; \
	PSRLL $(32-n), z; \
	POR   z, x

// X3 is the parity of the columns, X4 what it adds to a and c, and X5 to b.
#define THETA \
	MOVO   c, X3; \
	PXOR   a, X3; \
	PXOR   b, X3; \
	PSHUFD BACK, a, a; \
	PSHUFD BACK, c, c; \
	ROTATED(5, X3, X4, X6); \
	ROTATED(14, X3, X5, X7); \
	PXOR   X5, X4; \
	PSHUFD NEXT, X4, X5; \
	PXOR   X4, c; \
	PXOR   X4, a; \
	PXOR   X5, b

#define RHO_WEST \
	ROTATE(11, c, X6)

#define IOTA(i) \
	PXOR ·roundConstant+16*i(SB), a

// X4, X5 and X6 become what is added to a, b and c.
#define CHI \
	MOVO  b, X4; \
	MOVO  c, X5; \
	MOVO  a, X6; \
	PANDN c, X4; \
	PANDN a, X5; \
	PANDN b, X6; \
	PXOR  X5, b; \
	PXOR  X6, c; \
	PXOR  X4, a

#define RHO_EAST \
	ROTATE(1, b, X7); \
	PSHUFB east, c

#define ROUND(i) THETA; RHO_WEST; IOTA(i); CHI; RHO_EAST

// xoodooSSSE3 permutes the planes a, b and c.
TEXT xoodooSSSE3<>(SB), NOSPLIT, $0
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
	MOVOU 0(st), a; \
	MOVOU 16(st), b; \
	MOVOU 32(st), c; \
	MOVOU ·eastMask(SB), east

#define STORE(st) \
	MOVOU a, 0(st); \
	MOVOU b, 16(st); \
	MOVOU c, 32(st)

// func permuteSSSE3(st *[12]uint32)
TEXT ·permuteSSSE3(SB), NOSPLIT, $0-8
	MOVQ st+0(FP), AX
	LOAD(AX)
	CALL xoodooSSSE3<>(SB)
	STORE(AX)
	RET

// func absorbBlocksSSSE3(st *[12]uint32, src []byte)
TEXT ·absorbBlocksSSSE3(SB), NOSPLIT, $0-32
	MOVQ st+0(FP), AX
	MOVQ src_base+8(FP), SI
	MOVQ src_len+16(FP), CX
	LOAD(AX)
	JMP  check

block:
	MOVOU (SI), X3
	PXOR  X3, a
	CALL  xoodooSSSE3<>(SB)
	ADDQ  $16, SI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET

// func encryptBlocksSSSE3(st *[12]uint32, dst, src []byte)
TEXT ·encryptBlocksSSSE3(SB), NOSPLIT, $0-56
	MOVQ st+0(FP), AX
	MOVQ dst_base+8(FP), DI
	MOVQ src_base+32(FP), SI
	MOVQ src_len+40(FP), CX
	LOAD(AX)
	JMP  check

block:
	MOVOU (SI), X3
	PXOR  X3, a
	MOVOU a, (DI)
	CALL    xoodooSSSE3<>(SB)
	ADDQ    $16, SI
	ADDQ    $16, DI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET

// func decryptBlocksSSSE3(st *[12]uint32, dst, src []byte)
TEXT ·decryptBlocksSSSE3(SB), NOSPLIT, $0-56
	MOVQ st+0(FP), AX
	MOVQ dst_base+8(FP), DI
	MOVQ src_base+32(FP), SI
	MOVQ src_len+40(FP), CX
	LOAD(AX)
	JMP  check

block:
	MOVOU (SI), X3
	PXOR    X3, a
	MOVOU a, (DI)
	MOVO X3, a
	CALL    xoodooSSSE3<>(SB)
	ADDQ    $16, SI
	ADDQ    $16, DI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET
