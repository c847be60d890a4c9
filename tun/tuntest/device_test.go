package tuntest_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dsvpn/tun"
	"dsvpn/tun/tuntest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func packet(size int, mark byte) []byte {
	p := make([]byte, size)
	p[0], p[size-1] = 0x45, mark
	return p
}

func TestBothWays(t *testing.T) {
	t.Parallel()
	d := tuntest.New(1500)
	defer d.Close()
	d.Inject(packet(20, 1), packet(1500, 2), packet(30, 3))
	bufs, sizes := [][]byte{make([]byte, 1500), make([]byte, 1500)}, make([]int, 2)
	for _, want := range [][]int{{20, 1500}, {30}} {
		n, err := d.ReadBatch(bufs, sizes)
		if err != nil || n != len(want) || sizes[0] != want[0] {
			t.Fatalf("ReadBatch = %d, %v with sizes %v; want %v", n, err, sizes, want)
		}
	}
	if err := d.WriteBatch([][]byte{packet(20, 1), {}, []byte("pong"), packet(40, 2)}); err != nil {
		t.Fatal(err)
	}
	for mark := byte(1); mark <= 2; mark++ {
		p, err := d.Read(t.Context())
		if err != nil || p[len(p)-1] != mark {
			t.Errorf("Read = %v, %v", p, err)
		}
	}
	if got := d.Dropped(); got != 2 {
		t.Errorf("Dropped = %d, want 2", got)
	}
}

func TestWaitsEnd(t *testing.T) {
	t.Parallel()
	d := tuntest.New(1500)
	read := func() error {
		_, err := d.ReadBatch([][]byte{make([]byte, 1500)}, make([]int, 1))
		return err
	}
	if err := d.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
	if err := d.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := d.Read(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Read with a context that ends: %v", err)
	}

	var wg sync.WaitGroup
	wg.Go(func() {
		if err := read(); !errors.Is(err, tun.ErrRemoved) {
			t.Errorf("after Remove: %v", err)
		}
	})
	time.Sleep(5 * time.Millisecond)
	d.Remove()
	wg.Wait()
	d.Close()
	if err := read(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := d.WriteBatch([][]byte{packet(20, 1)}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if _, err := d.Read(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
}
