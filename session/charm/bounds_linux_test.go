package charm

import (
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Nothing is read or written beyond a message or the state: each lies against
// a page that may not be touched, before or behind it.
func TestBounds(t *testing.T) { each(t, testBounds) }

func testBounds(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	in, out, state := fenced(t), fenced(t), fenced(t)

	var sizes []int
	for n := range 100 {
		sizes = append(sizes, n)
	}
	for _, n := range append(sizes, 1400, len(in)) {
		for _, side := range []func(fence []byte, n int) []byte{
			func(fence []byte, n int) []byte { return fence[:n] },
			func(fence []byte, n int) []byte { return fence[len(fence)-n:] },
		} {
			src, dst := side(in, n), side(out, n)
			s := (*State)(unsafe.Pointer(&side(state, int(unsafe.Sizeof(State{})))[0]))
			*s = New(new([KeySize]byte), nil)
			start := *s

			s.Hash(src)
			*s = start
			tag := s.Encrypt(dst, src)
			*s = start
			if !s.Decrypt(src, dst, tag[:]) {
				t.Errorf("%d bytes: the tag was refused", n)
			}
		}
	}
}

// fenced returns memory between two pages that may not be touched.
func fenced(t *testing.T) []byte {
	t.Helper()
	page := unix.Getpagesize()
	memory, err := unix.Mmap(-1, 0, 4*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	})
	inside := memory[page : 3*page : 3*page]
	if err := unix.Mprotect(inside, unix.PROT_READ|unix.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return inside
}
