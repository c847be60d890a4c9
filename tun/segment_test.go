package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

func equalPackets(t testing.TB, got, want [][]byte) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if !bytes.Equal(got[i], want[i]) {
			n := min(len(got[i]), 100)
			t.Fatalf("packet %d of %d (%d bytes, want %d):\n%x\nwant\n%x", i, len(want), len(got[i]), len(want[i]), got[i][:n], want[i][:min(len(want[i]), 100)])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
}

// Extension headers of IPv6: hop-by-hop options, then destination options of
// 16 bytes, then TCP.
var extensions = append([]byte{60, 0, 1, 4, 0, 0, 0, 0}, append([]byte{6, 1, 1, 12}, make([]byte, 12)...)...)

// largePackets are what the kernel may hand over to be cut, and into what.
func largePackets() map[string]struct {
	tcpSpec
	segment int
} {
	type large = struct {
		tcpSpec
		segment int
	}
	all := map[string]large{}
	for _, six := range []bool{false, true} {
		with := func(size, segment int, change func(*tcpSpec)) large {
			s := plainTCP(six, size)
			if six && segment > 1400 {
				segment -= 20 // of 1500 bytes
			}
			if change != nil {
				change(&s)
			}
			return large{s, segment}
		}
		for name, l := range map[string]large{
			"full":         with(65000, 1448, nil),
			"even":         with(2*1448, 1448, nil),
			"one byte on":  with(1448+1, 1448, nil),
			"odd segments": with(9001, 1111, nil),
			"tiny":         with(999, 8, nil),
			"one segment":  with(500, 1448, nil),
			"no options":   with(9000, 1460, func(s *tcpSpec) { s.options = nil }),
			"SACK": with(9000, 1428, func(s *tcpSpec) {
				s.options = append(s.options, 1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4)
			}),
			"FIN, PSH":          with(5000, 1448, func(s *tcpSpec) { s.flags |= tcpFIN | tcpPSH }),
			"URG":               with(5000, 1448, func(s *tcpSpec) { s.flags |= 1 << 5; s.urgent = 4000 }),
			"ECN, echo and CWR": with(5000, 1448, func(s *tcpSpec) { s.class = 2; s.flags |= 1<<6 | tcpCWR }),
			"do not fragment":   with(5000, 1448, func(s *tcpSpec) { s.fragment = ip4DontFragment; s.flow = 0xabcde }),
		} {
			all[fmt.Sprintf("IPv6=%v, %s", six, name)] = l
		}
	}
	options := plainTCP(false, 5000)
	options.ipOptions = []byte{1, 1, 1, 0} // no operation, end
	all["IPv4 options"] = large{options, 1400}
	extended := plainTCP(true, 5000)
	extended.extensions = extensions
	all["IPv6 extensions"] = large{extended, 1400}
	return all
}

func TestSplit(t *testing.T) {
	t.Parallel()
	for name, l := range largePackets() {
		t.Run(name, func(t *testing.T) {
			frame := l.superFrame(l.segment)
			want := slowPackets(frame)
			equalPackets(t, split(&splitter{}, frame), want)

			frame[1] |= gsoECN
			frame[0] = 0 // no sum of a pseudo-header to begin with
			binary.BigEndian.PutUint16(frame[len(frame)-len(l.payload)-len(l.options)-4:], 0xbad)
			equalPackets(t, split(&splitter{}, frame), want)
		})
	}
}

// What fits no buffer is cut off, as all packets are.
func TestSplitIntoShortBuffers(t *testing.T) {
	t.Parallel()
	frame := plainTCP(false, 4000).superFrame(1448)
	for _, room := range []int{1, 30, 52, 1000, 1499} {
		var s splitter
		s.unpack(bytes.Clone(frame), nil)
		for _, want := range slowPackets(frame) {
			buf := make([]byte, room)
			n := s.segment(buf)
			if want = want[:min(room, len(want))]; !bytes.Equal(buf[:n], want) {
				t.Fatalf("with room for %d bytes: %x, want %x", room, buf[:n], want)
			}
		}
	}
}

func TestNothingToSplit(t *testing.T) {
	t.Parallel()
	good := plainTCP(false, 4000).superFrame(1448)
	for name, change := range map[string]func(frame []byte) []byte{
		"empty":              func([]byte) []byte { return nil },
		"no packet":          func(f []byte) []byte { return f[:vnetHeaderLen] },
		"half a header":      func(f []byte) []byte { return f[:vnetHeaderLen+30] },
		"no segment size":    func(f []byte) []byte { f[4], f[5] = 0, 0; return f },
		"UDP segments":       func(f []byte) []byte { f[1] = 5; return f },
		"fragment":           func(f []byte) []byte { f[vnetHeaderLen+7] = 1; return f },
		"not TCP":            func(f []byte) []byte { f[vnetHeaderLen+9] = 17; return f },
		"short IP header":    func(f []byte) []byte { f[vnetHeaderLen] = 0x44; return f },
		"short TCP header":   func(f []byte) []byte { f[vnetHeaderLen+32] = 0x40; return f },
		"checksum far away":  func(f []byte) []byte { f[1], f[6], f[7] = 0, 0xff, 0xff; return f },
		"another IP version": func(f []byte) []byte { f[vnetHeaderLen] = 0x55; return f },
	} {
		if got := split(&splitter{}, change(bytes.Clone(good))); len(got) != 0 {
			t.Errorf("%s: %d packets", name, len(got))
		}
	}
}

// A packet whose checksum is left to us, such as any that the host itself
// sends.
func TestCompleteChecksum(t *testing.T) {
	t.Parallel()
	for _, six := range []bool{false, true} {
		for size := range 100 {
			s := plainTCP(six, size)
			frame := s.superFrame(1)
			frame[1] = gsoNone
			equalPackets(t, split(&splitter{}, frame), [][]byte{s.bytes()})
		}
	}
	// A UDP checksum of zero is sent as its other self: the payload makes it so.
	udp := []byte{0, 7, 0, 7, 0, 10, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(udp[8:], slowChecksum(udp))
	if !completeChecksum(udp, 0, 6) || udp[6] != 0xff || udp[7] != 0xff {
		t.Errorf("the checksum is %x", udp[6:8])
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	b := append(pattern(300), bytes.Repeat([]byte{0xff}, 300)...)
	for from := range 9 {
		for to := from; to <= len(b); to++ {
			if got, want := ^sum(b[from:to], 0), slowChecksum(b[from:to]); got != want {
				t.Fatalf("the checksum of bytes %d to %d is %#x, want %#x", from, to, got, want)
			}
			if even := from + (to-from)/3&^1; ^sum(b[even:to], sum(b[from:even], 0)) != slowChecksum(b[from:to]) {
				t.Fatalf("bytes %d to %d, then to %d, have another checksum", from, even, to)
			}
		}
	}
}

// FuzzSplit: nothing that could be handed over makes us fail, or go on for
// ever, and what can be cut is cut as it should be.
func FuzzSplit(f *testing.F) {
	for _, l := range largePackets() {
		f.Add(l.superFrame(l.segment), 1500)
	}
	f.Fuzz(func(t *testing.T, frame []byte, room int) {
		if len(frame) > maxFrame {
			return
		}
		buf := make([]byte, max(0, min(room, 9000)))
		var s splitter
		if n, ok := s.unpack(bytes.Clone(frame), buf); ok && s.more() || n > len(buf) {
			t.Fatalf("%d bytes of a packet, and more: %v", n, ok)
		}
		if !s.more() {
			return
		}
		h, _, _ := parseVnetHeader(frame)
		h.start = uint16(s.tcp) // which may be wrong here
		h.gsoType &^= gsoECN
		frame = bytes.Clone(frame)
		if h.flags&vnetNeedsChecksum != 0 { // with the right sum to begin with
			p := tcpPacket{frame[vnetHeaderLen:], s.tcp, s.payload}
			partial := ^slowChecksum(slowPseudoHeader(p.bytes, len(p.bytes)-p.tcp))
			binary.BigEndian.PutUint16(p.bytes[p.tcp+tcpChecksumAt:], partial)
		}
		h.put(frame)
		equalPackets(t, split(&splitter{}, frame), slowPackets(frame))
		for s.more() {
			s.segment(buf)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, size := range []int{40, 1448, 9000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			data := pattern(size)
			b.SetBytes(int64(size))
			for b.Loop() {
				sum(data, 0)
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	frame := plainTCP(false, 64*1000).superFrame(1448)
	var s splitter
	buf := make([]byte, 1500)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		s.unpack(frame, buf)
		for s.more() {
			s.segment(buf)
		}
	}
}
