//go:build !purego

#include "textflag.h"

// The permutation with SSSE3, for machines without AVX-512VL. It keeps the
// state, and turns it, as avx512vl_amd64.s does, which explains it and holds
// the constants.

// The planes of the state.
#define a X0
#define b X1
#define c X2

// The parity of the columns; what it adds to a and c, and what to b.
#define p X3
#define p5 X4
#define p14 X5
#define e p5
#define f p14

// What chi adds to a, b and c.
#define x X6
#define y X7
#define z X8

// Scratch; eastMask.
#define t X9
#define u X10
#define east X11

// Orders of lanes for PSHUFD.
#define BACK $0x39
#define NEXT $0x93

// ROTATE rotates the lanes of v left by n; it changes w.
#define ROTATE(n, v, w) \
	MOVO  v, w; \
	PSLLL $n, v; \
	PSRLL $(32-n), w; \
	POR   w, v

#define THETA \
	MOVO   c, p; \
	PXOR   a, p; \
	PXOR   b, p; \
	PSHUFD BACK, a, a; \
	PSHUFD BACK, c, c; \
	MOVO   p, p5; \
	MOVO   p, p14; \
	ROTATE(5, p5, t); \
	ROTATE(14, p14, u); \
	PXOR   p14, e; \
	PSHUFD NEXT, e, f; \
	PXOR   e, c; \
	PXOR   e, a; \
	PXOR   f, b

// RHO_WEST has no need to move b, which has not turned.
#define RHO_WEST \
	ROTATE(11, c, t)

#define IOTA(i) \
	PXOR ·roundConstant+16*i(SB), a

#define CHI \
	MOVO  b, x; \
	MOVO  c, y; \
	MOVO  a, z; \
	PANDN c, x; \
	PANDN a, y; \
	PANDN b, z; \
	PXOR  y, b; \
	PXOR  z, c; \
	PXOR  x, a

#define RHO_EAST \
	ROTATE(1, b, t); \
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
	MOVOU (SI), t
	PXOR  t, a
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
	MOVOU (SI), t
	PXOR  t, a
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
	MOVOU (SI), t
	PXOR  t, a
	MOVOU a, (DI)
	MOVO  t, a
	CALL    xoodooSSSE3<>(SB)
	ADDQ    $16, SI
	ADDQ    $16, DI

check:
	SUBQ $16, CX
	JGE  block

	STORE(AX)
	RET
