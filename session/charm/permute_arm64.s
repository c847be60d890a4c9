//go:build !purego

#include "textflag.h"

// The permutation in the general registers, a word in each, from the first
// block of a message to the last. There the four columns go side by side, and
// many rotations come for nothing with another instruction. NEON, which would
// hold a plane in a register, has no rotation and longer waits: by LLVM's models
// of the processors from Cortex-A53 to Neoverse V2 its round takes 22 to 83
// cycles, this one 10 to 39, and that of the compiler 14 to 95.
//
// Lanes move by a change of name, as in permutePortable. Between two rounds
// the plane c still lacks the rotation of rho-east, by 8 bits to the left.

#define a0 R0
#define a1 R1
#define a2 R2
#define a3 R3
#define b0 R4
#define b1 R5
#define b2 R6
#define b3 R7
#define c0 R8
#define c1 R9
#define c2 R10
#define c3 R11

// What a column gets from the one before it; scratch.
#define e0 R12
#define e1 R13
#define e2 R14
#define e3 R15
#define t0 R16
#define t1 R17
#define t2 R19
#define t3 R20
#define t4 R21
#define t5 R22

// The arguments of the functions.
#define state R23
#define to R24
#define from R25
#define left R26

// ADD_PARITY adds to a column what it gets by the parity p of the one before
// it: p<<<5 ^ p<<<14, which is e<<<5, where e is p ^ p<<<9. Less 8 bits for c.
#define ADD_PARITY(a, b, c, e) \
	EORW e@>27, a, a; \
	EORW e@>27, b, b; \
	EORW e@>3, c, c

// CHI is chi on two columns. Before it c is rotated to the left by the 8 bits
// that it lacks and the 11 of rho-west, and after it b by the one of rho-east.
#define CHI(a, b, c, x, y, z) \
	RORW $13, c, c; \
	RORW $13, z, z; \
	BICW b, c, t0; \
	BICW c, a, t1; \
	BICW a, b, t2; \
	BICW y, z, t3; \
	BICW z, x, t4; \
	BICW x, y, t5; \
	EORW t0, a, a; \
	EORW t1, b, b; \
	EORW t2, c, c; \
	EORW t3, x, x; \
	EORW t4, y, y; \
	EORW t5, z, z; \
	RORW $31, b, b; \
	RORW $31, y, y

// ROUND needs the planes b and c by the names their lanes have come to bear.
#define ROUND(rc, b0, b1, b2, b3, c0, c1, c2, c3) \
	EORW a3, b3, e0; \
	EORW a0, b0, e1; \
	EORW a1, b1, e2; \
	EORW a2, b2, e3; \
	EORW c3@>24, e0, e0; \
	EORW c0@>24, e1, e1; \
	EORW c1@>24, e2, e2; \
	EORW c2@>24, e3, e3; \
	EORW e0@>23, e0, e0; \
	EORW e1@>23, e1, e1; \
	EORW e2@>23, e2, e2; \
	EORW e3@>23, e3, e3; \
	EORW $rc, a0, a0; \
	ADD_PARITY(a0, b0, c0, e0); \
	ADD_PARITY(a1, b1, c1, e1); \
	ADD_PARITY(a2, b2, c2, e2); \
	ADD_PARITY(a3, b3, c3, e3); \
	CHI(a0, b3, c0, a1, b0, c1); \
	CHI(a2, b1, c2, a3, b2, c3)

// xoodoo permutes the state in the registers, but for the rotation of c that
// is put off.
TEXT xoodoo<>(SB), NOSPLIT, $0
	ROUND(0x058, b0, b1, b2, b3, c0, c1, c2, c3)
	ROUND(0x038, b3, b0, b1, b2, c2, c3, c0, c1)
	ROUND(0x3c0, b2, b3, b0, b1, c0, c1, c2, c3)
	ROUND(0x0d0, b1, b2, b3, b0, c2, c3, c0, c1)
	ROUND(0x120, b0, b1, b2, b3, c0, c1, c2, c3)
	ROUND(0x014, b3, b0, b1, b2, c2, c3, c0, c1)
	ROUND(0x060, b2, b3, b0, b1, c0, c1, c2, c3)
	ROUND(0x02c, b1, b2, b3, b0, c2, c3, c0, c1)
	ROUND(0x380, b0, b1, b2, b3, c0, c1, c2, c3)
	ROUND(0x0f0, b3, b0, b1, b2, c2, c3, c0, c1)
	ROUND(0x1a0, b2, b3, b0, b1, c0, c1, c2, c3)
	ROUND(0x012, b1, b2, b3, b0, c2, c3, c0, c1)
	RET

// EAST rotates the plane c by n bits to the right.
#define EAST(n) \
	RORW $n, c0, c0; \
	RORW $n, c1, c1; \
	RORW $n, c2, c2; \
	RORW $n, c3, c3

#define LOAD \
	LDPW (state), (a0, a1); \
	LDPW 8(state), (a2, a3); \
	LDPW 16(state), (b0, b1); \
	LDPW 24(state), (b2, b3); \
	LDPW 32(state), (c0, c1); \
	LDPW 40(state), (c2, c3); \
	EAST(8)

#define STORE \
	EAST(24); \
	STPW (a0, a1), (state); \
	STPW (a2, a3), 8(state); \
	STPW (b0, b1), 16(state); \
	STPW (b2, b3), 24(state); \
	STPW (c0, c1), 32(state); \
	STPW (c2, c3), 40(state)

// NEXT_BLOCK loads 16 bytes and adds them to the rate.
#define NEXT_BLOCK \
	LDPW (from), (t0, t1); \
	LDPW 8(from), (t2, t3); \
	ADD  $16, from; \
	EORW t0, a0; \
	EORW t1, a1; \
	EORW t2, a2; \
	EORW t3, a3

#define PUT_BLOCK \
	STPW (a0, a1), (to); \
	STPW (a2, a3), 8(to); \
	ADD  $16, to

// func permuteWords(st *[12]uint32)
TEXT ·permuteWords(SB), NOSPLIT, $0-8
	MOVD st+0(FP), state
	LOAD
	CALL xoodoo<>(SB)
	STORE
	RET

// func absorbBlocksWords(st *[12]uint32, src []byte)
TEXT ·absorbBlocksWords(SB), NOSPLIT, $0-32
	MOVD st+0(FP), state
	MOVD src_base+8(FP), from
	MOVD src_len+16(FP), left
	LOAD
	B    check

block:
	NEXT_BLOCK
	CALL xoodoo<>(SB)

check:
	SUBS $16, left
	BGE  block

	STORE
	RET

// func encryptBlocksWords(st *[12]uint32, dst, src []byte)
TEXT ·encryptBlocksWords(SB), NOSPLIT, $0-56
	MOVD st+0(FP), state
	MOVD dst_base+8(FP), to
	MOVD src_base+32(FP), from
	MOVD src_len+40(FP), left
	LOAD
	B    check

block:
	NEXT_BLOCK
	PUT_BLOCK
	CALL xoodoo<>(SB)

check:
	SUBS $16, left
	BGE  block

	STORE
	RET

// func decryptBlocksWords(st *[12]uint32, dst, src []byte)
TEXT ·decryptBlocksWords(SB), NOSPLIT, $0-56
	MOVD st+0(FP), state
	MOVD dst_base+8(FP), to
	MOVD src_base+32(FP), from
	MOVD src_len+40(FP), left
	LOAD
	B    check

block:
	NEXT_BLOCK
	PUT_BLOCK
	MOVW t0, a0
	MOVW t1, a1
	MOVW t2, a2
	MOVW t3, a3
	CALL xoodoo<>(SB)

check:
	SUBS $16, left
	BGE  block

	STORE
	RET
