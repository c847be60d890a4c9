package tun

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestBothWays(t *testing.T) {
	t.Parallel()
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		exchange(t, ready(t, h, opts...), socket(t, h))
	})
}

func TestBatches(t *testing.T) {
	t.Parallel()
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		d, s := ready(t, h, opts...), socket(t, h)
		const packets = 50
		for i := range packets {
			_, err := fmt.Fprintf(s, "out %d", i)
			check(t, err)
		}
		bufs, sizes := buffers(32)
		for _, want := range []int{32, 18} {
			n, err := d.ReadBatch(bufs, sizes)
			if err != nil || n != want {
				t.Fatalf("ReadBatch = %d, %v; want %d", n, err, want)
			}
		}
		if got := string(bufs[17][28:sizes[17]]); got != "out 49" {
			t.Errorf("the last packet has %q", got)
		}

		batch := [][]byte{{}, []byte("\x00not IP")} // the kernel takes neither
		for i := range packets {
			batch = append(batch, datagram(fmt.Sprintf("in %d", i)))
		}
		check(t, d.WriteBatch(batch))
		buf := make([]byte, 100)
		for i := range packets {
			n, err := s.Read(buf)
			check(t, err)
			if want := fmt.Sprintf("in %d", i); string(buf[:n]) != want {
				t.Fatalf("the socket reads %q, want %q", buf[:n], want)
			}
		}
		if got := d.Dropped(); got != 2 {
			t.Errorf("Dropped = %d, want 2", got)
		}
	})
}

// An interface that is down takes nothing and gives nothing, and is as good
// as before when it is up again.
func TestDownAndUp(t *testing.T) {
	t.Parallel()
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		d, s := ready(t, h, opts...), socket(t, h)
		exchange(t, d, s)
		check(t, h.SetDown(d.Name()))
		check(t, d.WriteBatch([][]byte{datagram("lost"), datagram("lost")}))
		if got := d.Dropped(); got != 2 {
			t.Errorf("Dropped = %d, want 2", got)
		}
		check(t, d.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		bufs, sizes := buffers(1)
		if _, err := d.ReadBatch(bufs, sizes); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("ReadBatch while down: %v", err)
		}
		check(t, h.SetUp(d.Name()))
		exchange(t, d, s)
	})
}

// waiting starts a ReadBatch that waits, and returns where its error comes.
func waiting(d Device) <-chan error {
	result := make(chan error, 1)
	go func() {
		bufs, sizes := buffers(1)
		_, err := d.ReadBatch(bufs, sizes)
		result <- err
	}()
	time.Sleep(20 * time.Millisecond)
	return result
}

func within(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("ReadBatch still waits")
		return nil
	}
}

func TestRemoved(t *testing.T) {
	t.Parallel()
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		d := ready(t, h, opts...)
		result := waiting(d)
		check(t, h.DelLink(d.Name()))
		if err := within(t, result); !errors.Is(err, ErrRemoved) || err.Error() != "interface tun0 was removed" {
			t.Errorf("the read that waited: %v", err)
		}
		bufs, sizes := buffers(1)
		if _, err := d.ReadBatch(bufs, sizes); !errors.Is(err, ErrRemoved) {
			t.Errorf("ReadBatch = %v", err)
		}
		if err := d.WriteBatch([][]byte{datagram("lost")}); !errors.Is(err, ErrRemoved) {
			t.Errorf("WriteBatch = %v", err)
		}
		check(t, d.Close())
	})
}

func TestClose(t *testing.T) {
	t.Parallel()
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		d := ready(t, h, opts...)
		result := waiting(d)
		check(t, d.Close())
		check(t, d.Close())
		if err := within(t, result); !errors.Is(err, os.ErrClosed) {
			t.Errorf("the read that waited: %v", err)
		}
		bufs, sizes := buffers(1)
		if _, err := d.ReadBatch(bufs, sizes); !errors.Is(err, os.ErrClosed) {
			t.Errorf("ReadBatch = %v", err)
		}
		if err := d.WriteBatch([][]byte{datagram("lost")}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("WriteBatch = %v", err)
		}
		if err := d.SetReadDeadline(time.Time{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("SetReadDeadline = %v", err)
		}
	})
}

// Not parallel: it counts what belongs to the whole process.
func TestNoAllocations(t *testing.T) {
	withAndWithout(t, func(t *testing.T, opts ...Option) {
		h := newHost(t)
		d, s := ready(t, h, opts...), socket(t, h)
		bufs, sizes := buffers(32)
		batch := [][]byte{datagram("in"), datagram("in")}
		payload, in := []byte("out"), make([]byte, 100)
		allocs := testing.AllocsPerRun(200, func() {
			for range 2 {
				if _, err := s.Write(payload); err != nil {
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
				if _, err := s.Read(in); err != nil {
					t.Error(err)
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations for a batch each way", allocs)
		}
	})
}

// Not parallel, for the same reason.
func TestNoDescriptorLeft(t *testing.T) {
	h := newHost(t)
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		check(t, err)
		return len(entries)
	}
	before := descriptors()
	for range 200 {
		check(t, h.Do(func() error {
			d, err := Open(t.Context(), "", 1500)
			if err != nil {
				return err
			}
			if d.Name() != "tun0" {
				t.Errorf("the last interface is left: this one is %s", d.Name())
			}
			return d.Close()
		}))
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func BenchmarkOpenClose(b *testing.B) {
	h := newHost(b)
	var open, shut time.Duration
	for b.Loop() {
		start := time.Now()
		d, err := openOn(b, h, "", 9000)
		check(b, err)
		open += time.Since(start)
		check(b, h.AddAddr(d.Name(), near))
		check(b, h.SetUp(d.Name()))
		start = time.Now()
		check(b, d.Close())
		shut += time.Since(start)
	}
	b.ReportMetric(open.Seconds()*1e3/float64(b.N), "open-ms")
	b.ReportMetric(shut.Seconds()*1e3/float64(b.N), "close-ms")
}

func BenchmarkWrite(b *testing.B) {
	h := newHost(b)
	d := ready(b, h)
	batch := make([][]byte, 64)
	for i := range batch {
		batch[i] = datagram(string(make([]byte, 1400)))
		batch[i][16] = 127 // a martian: the kernel drops it early
	}
	b.ReportAllocs()
	for b.Loop() {
		check(b, d.WriteBatch(batch))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/packet")
}
