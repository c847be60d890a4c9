package tun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What other systems' devices do is tried here on one end of a pair of sockets
// that keep the bounds of messages: the kernel is the other end. The code is
// the same but for open and removed.

// framed returns a device whose packets have headers, and the kernel's end.
func framed(t testing.TB) (*device, *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	check(t, err)
	kernel := os.NewFile(uintptr(fds[1]), "kernel")
	t.Cleanup(func() { kernel.Close() })
	d := &device{name: "tun7"}
	d.frameHeaders()
	check(t, d.start(os.NewFile(uintptr(fds[0]), "tun7")))
	t.Cleanup(func() { d.Close() })
	check(t, kernel.SetDeadline(time.Now().Add(10*time.Second)))
	return d, kernel
}

func frame(family uint32, packet string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, family), packet...)
}

func TestFramesWritten(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	long := make([]byte, MaxMTU+1)
	long[0] = 0x45
	check(t, d.WriteBatch([][]byte{
		[]byte("\x45 four"), {}, []byte("\x75 seven"), []byte("\x60 six"), long, []byte("\x00"), long[:MaxMTU],
	}))
	if got := d.Dropped(); got != 4 {
		t.Errorf("Dropped = %d, want 4", got)
	}
	buf := make([]byte, 2*MaxMTU)
	for _, want := range [][]byte{
		frame(unix.AF_INET, "\x45 four"), frame(unix.AF_INET6, "\x60 six"), frame(unix.AF_INET, string(long[:MaxMTU])),
	} {
		n, err := kernel.Read(buf)
		check(t, err)
		if !bytes.Equal(buf[:n], want) {
			t.Errorf("the kernel reads %.30q, %d bytes, want %.30q", buf[:n], n, want)
		}
	}
}

func TestFramesRead(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	for _, f := range [][]byte{
		{0}, {0, 0, 0}, frame(unix.AF_INET, ""), // short
		frame(unix.AF_INET, "\x45 four"),
		frame(unix.AF_APPLETALK, "\x45 old"), []byte("\x45 without a header"), // unknown
		frame(unix.AF_INET6, "\x60 six"),
		frame(unix.AF_INET, "\x45"+string(make([]byte, 3000))),
		frame(unix.AF_UNSPEC, "\x45"),
	} {
		_, err := kernel.Write(f)
		check(t, err)
	}
	bufs, sizes := buffers(8)
	n, err := d.ReadBatch(bufs, sizes)
	check(t, err)
	var got []string
	for i := range n {
		got = append(got, string(bufs[i][:sizes[i]]))
	}
	want := []string{"\x45 four", "\x60 six", "\x45" + string(make([]byte, 1499))} // cut
	if !slices.Equal(got, want) {
		t.Errorf("ReadBatch = %.20q, want %.20q", got, want)
	}
	if d.Dropped() != 0 {
		t.Errorf("Dropped = %d: it counts what was written only", d.Dropped())
	}
}

// A read of nothing but junk goes on waiting.
func TestFramesJunkOnly(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	_, err := kernel.Write([]byte("junk and more"))
	check(t, err)
	check(t, d.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	bufs, sizes := buffers(1)
	if n, err := d.ReadBatch(bufs, sizes); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadBatch = %d, %v", n, err)
	}
	check(t, d.SetReadDeadline(time.Time{}))
	_, err = kernel.Write(frame(unix.AF_INET, "\x45"))
	check(t, err)
	if n, err := d.ReadBatch(bufs, sizes); n != 1 || err != nil || sizes[0] != 1 {
		t.Errorf("ReadBatch = %d, %v, sizes %v", n, err, sizes)
	}
}

func TestFramesInBatches(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	for i := range 50 {
		_, err := kernel.Write(frame(unix.AF_INET, fmt.Sprintf("\x45 %d", i)))
		check(t, err)
	}
	bufs, sizes := buffers(32)
	for _, want := range []int{32, 18} {
		if n, err := d.ReadBatch(bufs, sizes); n != want || err != nil {
			t.Fatalf("ReadBatch = %d, %v; want %d", n, err, want)
		}
	}
	if got := string(bufs[17][:sizes[17]]); got != "\x45 49" {
		t.Errorf("the last packet is %q", got)
	}
}

// A batch that the kernel has no room for waits, and loses nothing.
func TestFramesWait(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	batch := make([][]byte, 3000) // several times what a socket holds
	for i := range batch {
		batch[i] = append([]byte("\x45"), make([]byte, 999)...)
		binary.BigEndian.PutUint32(batch[i][4:], uint32(i))
	}
	written := make(chan error, 1)
	go func() { written <- d.WriteBatch(batch) }()
	buf := make([]byte, 2000)
	for i := range batch {
		n, err := kernel.Read(buf)
		check(t, err)
		if !bytes.Equal(buf[headerLen:n], batch[i]) {
			t.Fatalf("packet %d is %.10x…", i, buf[:n])
		}
	}
	check(t, <-written)
	if d.Dropped() != 0 {
		t.Errorf("Dropped = %d", d.Dropped())
	}
}

// The end of the other end is an error, not a packet, and not a loop.
func TestFramesEnd(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	result := waiting(d)
	check(t, kernel.Close())
	if err := within(t, result); !errors.Is(err, io.EOF) {
		t.Errorf("the read that waited: %v", err)
	}
	if err := d.WriteBatch([][]byte{[]byte("\x45")}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("WriteBatch = %v", err)
	}
}

// Close ends what waits, and gives back and removes the interface in the order
// that the systems need.
func TestFramesClose(t *testing.T) {
	t.Parallel()
	d, kernel := framed(t)
	var steps []string
	step := func(name string) func() error {
		return func() error {
			_, err := kernel.Write([]byte("is it open?"))
			steps = append(steps, fmt.Sprint(name, " open=", err == nil))
			return errors.New(name + " failed")
		}
	}
	d.restore, d.destroy = step("restore"), step("destroy")
	result := waiting(d)
	if err := d.Close(); err == nil || err.Error() != "interface tun7: close: restore failed\ndestroy failed" {
		t.Errorf("Close = %v", err)
	}
	check(t, d.Close())
	if err := within(t, result); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the read that waited: %v", err)
	}
	if want := []string{"restore open=true", "destroy open=false"}; !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// Not parallel: it counts what belongs to the whole process.
func TestFramesNoAllocations(t *testing.T) {
	d, kernel := framed(t)
	raw, err := kernel.SyscallConn()
	check(t, err)
	bufs, sizes := buffers(32)
	batch := [][]byte{[]byte("\x45 four"), []byte("\x60 six"), []byte("junk")}
	out, in := frame(unix.AF_INET, "\x45"), make([]byte, 100)
	check(t, raw.Control(func(fd uintptr) {
		allocs := testing.AllocsPerRun(200, func() {
			for range 2 {
				if _, err := unix.Write(int(fd), out); err != nil {
					t.Error(err)
				}
			}
			if n, err := d.ReadBatch(bufs, sizes); n != 2 || err != nil {
				t.Errorf("ReadBatch = %d, %v", n, err)
			}
			if err := d.WriteBatch(batch); err != nil {
				t.Error(err)
			}
			for range 2 {
				if _, err := unix.Read(int(fd), in); err != nil {
					t.Error(err)
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations for a batch each way", allocs)
		}
	}))
}
