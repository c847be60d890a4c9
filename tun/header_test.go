package tun

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"testing"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first byte
		want  uint32
	}{{0x45, syscall.AF_INET}, {0x4f, syscall.AF_INET}, {0x60, syscall.AF_INET6}, {0x6f, syscall.AF_INET6}} {
		packet := []byte{tt.first, 1, 2, 3}
		frame, ok := addHeader(make([]byte, 8), packet)
		if !ok || binary.BigEndian.Uint32(frame) != tt.want || !bytes.Equal(frame[4:], packet) {
			t.Errorf("addHeader(%x) = %x, %v", packet, frame, ok)
		}
	}
	for _, packet := range [][]byte{nil, {}, {0x00}, {0x55}, {0x70}, {0x45, 1, 2, 3, 4}} {
		if frame, ok := addHeader(make([]byte, 8), packet); ok {
			t.Errorf("addHeader(%x) = %x", packet, frame)
		}
	}
	for _, frame := range [][]byte{
		nil, {0}, {0, 0, 0}, {0, 0, 0, syscall.AF_INET}, // no packet
		{0, 0, 0, 0, 0x45}, {0, 0, 0, syscall.AF_UNIX, 0x45}, {syscall.AF_INET, 0, 0, 0, 0x45}, {0, 0, 1, syscall.AF_INET, 0x45},
	} {
		if packet, ok := stripHeader(frame); ok {
			t.Errorf("stripHeader(%x) = %x", frame, packet)
		}
	}
}

// FuzzHeader: what gets a header is IP that fits, it comes back as it was, and
// nothing that the kernel could hand over makes us fail.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{}, 10)
	f.Add([]byte{0x45, 1, 2, 3}, 8)
	f.Add([]byte{0, 0, 0, syscall.AF_INET, 0x45, 1, 2, 3}, 100)
	f.Add([]byte{0, 0, 0, syscall.AF_INET6, 0x60, 1, 2, 3}, 12)
	f.Fuzz(func(t *testing.T, data []byte, room int) {
		if packet, ok := stripHeader(data); ok && (len(packet) == 0 || !bytes.Equal(packet, data[headerLen:])) {
			t.Errorf("stripHeader(%x) = %x", data, packet)
		}
		room = max(0, min(room, 2000))
		isIP := len(data) > 0 && (data[0]>>4 == 4 || data[0]>>4 == 6)
		before := bytes.Clone(data)
		frame, ok := addHeader(make([]byte, room), data)
		if want := isIP && len(data)+headerLen <= room; ok != want {
			t.Fatalf("addHeader(%x) with room for %d bytes: %v, want %v", data, room, ok, want)
		}
		if !bytes.Equal(data, before) {
			t.Errorf("addHeader has changed the packet %x to %x", before, data)
		}
		if !ok {
			return
		}
		if packet, ok := stripHeader(frame); !ok || !bytes.Equal(packet, data) {
			t.Errorf("%x comes back as %x, %v", data, packet, ok)
		}
	})
}
