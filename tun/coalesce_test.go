package tun

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

// packAll returns the frames of a batch.
func packAll(c *coalescer, packets [][]byte) (frames [][]byte) {
	for len(packets) > 0 {
		frame, n := c.pack(packets)
		frames = append(frames, slices.Clone(frame))
		packets = packets[n:]
	}
	return frames
}

// unpackAll is what becomes of frames.
func unpackAll(frames [][]byte) (packets [][]byte) {
	for _, f := range frames {
		packets = append(packets, slowPackets(f)...)
	}
	return packets
}

func merger(t testing.TB) *coalescer {
	return newCoalescer(func(err error) { t.Errorf("refused: %v", err) })
}

// corrupt changes a byte and no checksum.
func corrupt(packet []byte, at int) []byte {
	packet[at] ^= 1
	return packet
}

func TestCoalesce(t *testing.T) {
	t.Parallel()
	for _, six := range []bool{false, true} {
		first := plainTCP(six, 1000)
		second := func(change func(*tcpSpec)) []byte {
			s := first.next(1000)
			change(&s)
			return s.bytes()
		}
		ipLen := 20
		if six {
			ipLen = 40
		}
		none := func(*tcpSpec) {}
		for _, tt := range []struct {
			name   string
			packet []byte
			merged bool
		}{
			{"next", second(none), true},
			{"PSH", second(func(s *tcpSpec) { s.flags |= tcpPSH }), true},
			{"shorter", second(func(s *tcpSpec) { s.payload = s.payload[:999] }), true},
			{"one byte", second(func(s *tcpSpec) { s.payload = s.payload[:1] }), true},
			{"longer", second(func(s *tcpSpec) { s.payload = pattern(1001) }), false},
			{"no payload", second(func(s *tcpSpec) { s.payload = nil }), false},
			{"same again", first.bytes(), false},
			{"gap", second(func(s *tcpSpec) { s.sequence++ }), false},
			{"overlap", second(func(s *tcpSpec) { s.sequence-- }), false},
			{"other port", second(func(s *tcpSpec) { s.port++ }), false},
			{"other acknowledgement", second(func(s *tcpSpec) { s.ack++ }), false},
			{"other window", second(func(s *tcpSpec) { s.window++ }), false},
			{"FIN", second(func(s *tcpSpec) { s.flags |= tcpFIN }), false},
			{"SYN", second(func(s *tcpSpec) { s.flags |= 1 << 1 }), false},
			{"RST", second(func(s *tcpSpec) { s.flags |= 1 << 2 }), false},
			{"no ACK", second(func(s *tcpSpec) { s.flags = 0 }), false},
			{"URG", second(func(s *tcpSpec) { s.flags |= 1 << 5 }), false},
			{"urgent pointer", second(func(s *tcpSpec) { s.urgent = 1 }), false},
			{"ECN echo", second(func(s *tcpSpec) { s.flags |= 1 << 6 }), false},
			{"CWR", second(func(s *tcpSpec) { s.flags |= tcpCWR }), false},
			{"other timestamp", second(func(s *tcpSpec) { s.options = corrupt(slices.Clone(s.options), 7) }), false},
			{"fewer options", second(func(s *tcpSpec) { s.options = nil }), false},
			{"more options", second(func(s *tcpSpec) { s.options = append(slices.Clone(s.options), 1, 1, 1, 1) }), false},
			{"congestion experienced", second(func(s *tcpSpec) { s.class = 3 }), false},
			{"other class", second(func(s *tcpSpec) { s.class = 0x20 }), false},
			{"other TTL", second(func(s *tcpSpec) { s.ttl-- }), false},
			{"bad TCP checksum", corrupt(second(none), ipLen+16), false},
			{"bad payload", corrupt(second(none), 1000), false},
			{"cut off", second(none)[:900], false},
			{"padded", append(second(none)[:1000], 0), false},
			{"other source", corrupt(second(none), ipLen-5), false},
		} {
			c := merger(t)
			frames := packAll(c, [][]byte{first.bytes(), tt.packet})
			if merged := len(frames) == 1; merged != tt.merged {
				t.Errorf("IPv6=%v, %s: merged %v", six, tt.name, merged)
			}
			equalPackets(t, unpackAll(frames), [][]byte{first.bytes(), tt.packet})
			// The other way round nothing but the right order can be merged.
			if frames := packAll(c, [][]byte{tt.packet, first.bytes()}); len(frames) != 2 {
				t.Errorf("IPv6=%v, %s: merged with the packet before", six, tt.name)
			}
		}
	}
}

// What only one of the two IP versions has.
func TestCoalesceHeaders(t *testing.T) {
	t.Parallel()
	both := func(six bool, change func(*tcpSpec)) [2]tcpSpec {
		first := plainTCP(six, 1000)
		change(&first)
		return [2]tcpSpec{first, first.next(1000)}
	}
	second := func(six bool, change func(*tcpSpec)) [2]tcpSpec {
		p := both(six, func(*tcpSpec) {})
		change(&p[1])
		return p
	}
	for name, tt := range map[string]struct {
		packets [2]tcpSpec
		merged  bool
	}{
		"identification":                  {second(false, func(s *tcpSpec) { s.id++ }), false},
		"do not fragment":                 {both(false, func(s *tcpSpec) { s.fragment = ip4DontFragment }), true},
		"do not fragment, in one":         {second(false, func(s *tcpSpec) { s.fragment = ip4DontFragment }), false},
		"more fragments":                  {both(false, func(s *tcpSpec) { s.fragment = 0x2000 }), false},
		"fragment offset":                 {second(false, func(s *tcpSpec) { s.fragment = 1 }), false},
		"reserved bit":                    {second(false, func(s *tcpSpec) { s.fragment = 0x8000 }), false},
		"IPv4 options":                    {both(false, func(s *tcpSpec) { s.ipOptions = []byte{1, 1, 1, 0} }), false},
		"flow label":                      {both(true, func(s *tcpSpec) { s.flow = 5 }), true},
		"other flow label":                {second(true, func(s *tcpSpec) { s.flow = 5 }), false},
		"IPv6 extensions":                 {both(true, func(s *tcpSpec) { s.extensions = extensions }), false},
		"congestion experienced, in both": {both(false, func(s *tcpSpec) { s.class = 3 }), true},
		"PSH in the first":                {both(true, func(s *tcpSpec) { s.flags |= tcpPSH }), false},
		"ECN echo in both":                {both(true, func(s *tcpSpec) { s.flags |= 1 << 6 }), false},
		"URG in both":                     {both(true, func(s *tcpSpec) { s.flags |= 1 << 5; s.urgent = 9 }), false},
	} {
		packets := [][]byte{tt.packets[0].bytes(), tt.packets[1].bytes()}
		frames := packAll(merger(t), packets)
		if merged := len(frames) == 1; merged != tt.merged {
			t.Errorf("%s: merged %v", name, merged)
		}
		equalPackets(t, unpackAll(frames), packets)
	}

	// The identification of a packet that is never fragmented may be anything.
	free := both(false, func(s *tcpSpec) { s.fragment = ip4DontFragment; s.id = 0 })
	free[1].id = 0
	if frames := packAll(merger(t), [][]byte{free[0].bytes(), free[1].bytes()}); len(frames) != 1 {
		t.Error("two packets that are never fragmented, with the same identification, are not merged")
	}

	// A bad header checksum would be made right.
	bad := both(false, func(*tcpSpec) {})
	for i := range bad {
		packets := [][]byte{bad[0].bytes(), bad[1].bytes()}
		corrupt(packets[i], ip4ChecksumAt)
		frames := packAll(merger(t), packets)
		if len(frames) != 2 {
			t.Errorf("merged, although the header checksum of packet %d is wrong", i)
		}
		equalPackets(t, unpackAll(frames), packets)
	}
}

// A frame has at most 64 KiB, and one that ends early, for PSH or a short
// packet, ends there.
func TestCoalesceLimits(t *testing.T) {
	t.Parallel()
	for _, six := range []bool{false, true} {
		var packets [][]byte
		s := plainTCP(six, 1448)
		for i := range 200 {
			switch i {
			case 60:
				s.flags |= tcpPSH
			case 61, 101:
				s.flags = tcpACK
			case 100:
				s.payload = s.payload[:700]
			}
			packets = append(packets, s.bytes())
			s = s.next(1448)
		}
		var counts []int
		frames := packAll(merger(t), packets)
		for _, f := range frames {
			if len(f) > vnetHeaderLen+MaxMTU {
				t.Errorf("a packet of %d bytes", len(f)-vnetHeaderLen)
			}
			counts = append(counts, len(slowPackets(f)))
		}
		if want := []int{45, 16, 40, 45, 45, 9}; !slices.Equal(counts, want) {
			t.Errorf("IPv6=%v: frames of %v packets, want %v", six, counts, want)
		}
		equalPackets(t, unpackAll(frames), packets)
	}
}

func TestPackAlone(t *testing.T) {
	t.Parallel()
	c := merger(t)
	if frame, n := c.pack([][]byte{make([]byte, MaxMTU+1)}); n != 0 {
		t.Errorf("a frame of %d bytes for a packet that is too long", len(frame))
	}
	longest := plainTCP(false, MaxMTU-52).bytes()
	for _, packet := range [][]byte{nil, {0}, {0x45}, {0x60}, longest, make([]byte, MaxMTU)} {
		frame, n := c.pack([][]byte{packet, packet})
		if n != 1 || !bytes.Equal(frame, append(make([]byte, vnetHeaderLen), packet...)) {
			t.Errorf("the frame of %d packets of %d bytes is %.20x", n, len(packet), frame)
		}
	}
}

// stream makes packets of a recipe, five bytes each: mostly the next of one of
// two connections, and now and then with something odd about it.
func stream(recipe []byte) (packets [][]byte) {
	conns := []tcpSpec{plainTCP(false, 0), plainTCP(true, 0)}
	conns[0].port++
	for step := range slices.Chunk(recipe, 5) {
		if len(step) < 5 {
			break
		}
		c := &conns[step[0]&1]
		size := 1000
		if step[1] < 40 {
			size = int(step[1]) * 30
		}
		*c = c.next(size)
		s := *c
		switch step[2] {
		case 0:
			s.flags = step[3]
		case 1:
			s.fragment = uint16(step[3])<<8 | uint16(step[4])
		case 2:
			s.options = pattern(int(step[3]) % 11 * 4)
		case 3:
			s.extension, s.extensions = 60, append([]byte{6, 0, 1, 4}, make([]byte, 4)...)
		case 4:
			c.sequence += uint32(step[3])
		case 5:
			c.fragment ^= ip4DontFragment
		case 6:
			s.flags |= tcpPSH
		}
		packet := s.bytes()
		switch at := int(step[3])<<8 | int(step[4]); step[2] {
		case 10: // any bit at all
			packet[at%len(packet)] ^= 1 << (step[3] & 7)
		case 11: // one of the headers
			packet[at%(len(packet)-len(s.payload))] ^= 1 << (step[3] & 7)
		case 12: // the same, and the checksums say nothing of it
			tcp := len(packet) - len(s.payload) - len(s.options) - 20
			packet[at%(len(packet)-len(s.payload))] ^= 1 << (step[3] & 7)
			if v := packet[0] >> 4; v == 4 || v == 6 {
				rightChecksums(packet, tcp)
			}
		case 13:
			packet = packet[:at%(len(packet)+1)]
		}
		packets = append(packets, packet)
	}
	return packets
}

// wantReversible fails the test unless what becomes of a batch is that batch.
func wantReversible(t testing.TB, packets [][]byte) (frames int) {
	t.Helper()
	all := packAll(merger(t), packets)
	var slow, fast [][]byte
	for _, f := range all {
		if _, packet, ok := parseVnetHeader(f); !ok || len(packet) > MaxMTU {
			slow, fast = append(slow, packet), append(fast, packet)
			continue
		}
		slow = append(slow, slowPackets(f)...)
		fast = append(fast, split(&splitter{}, f)...)
	}
	equalPackets(t, withoutFreeIDs(slow), withoutFreeIDs(packets))
	equalPackets(t, fast, slow)
	return len(all)
}

// withoutFreeIDs blanks the identification of packets in which it means
// nothing, and with it the header checksum if that was right.
func withoutFreeIDs(packets [][]byte) (blank [][]byte) {
	for _, p := range packets {
		p = slices.Clone(p)
		if len(p) >= 20 && p[0] == 0x45 && p[6]&0x40 != 0 && slowChecksum(p[:20]) == 0 {
			clear(p[4:6])
			clear(p[10:12])
			binary.BigEndian.PutUint16(p[10:], slowChecksum(p[:20]))
		}
		blank = append(blank, p)
	}
	return blank
}

func TestCoalesceIsReversible(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var packets, frames int
	for range 200 {
		recipe := make([]byte, 5*100)
		var flow byte
		for i := range recipe {
			recipe[i] = byte(r.Uint32())
			if i%5 == 0 {
				if r.IntN(8) == 0 {
					flow ^= 1 // else in rows
				}
				recipe[i] = flow
			}
			if i%5 == 2 {
				recipe[i] = byte(r.IntN(100))
			}
		}
		batch := stream(recipe)
		packets += len(batch)
		frames += wantReversible(t, batch)
	}
	if frames < packets/10 || frames > packets*2/3 {
		t.Errorf("%d frames of %d packets: this tries too little", frames, packets)
	}
}

// FuzzCoalesce is the same for what a fuzzer thinks of.
func FuzzCoalesce(f *testing.F) {
	f.Add([]byte("\x00\xff\xff\x00\x00\x00\xff\xff\x00\x00\x00\xff\xff\x00\x00"))
	f.Add([]byte("\x01\xff\xff\x00\x00\x01\xff\x06\x00\x00\x01\xff\x0a\x03\x03"))
	f.Fuzz(func(t *testing.T, recipe []byte) {
		if len(recipe) <= 5*256 {
			wantReversible(t, stream(recipe))
		}
	})
}

// No memory is allocated for a packet, or for a batch. Not parallel: it counts
// what belongs to the whole process.
func TestOffloadNoAllocations(t *testing.T) {
	c, s := merger(t), &splitter{}
	batch := slowPackets(plainTCP(true, 60000).superFrame(1448))
	buf := make([]byte, 1500)
	allocs := testing.AllocsPerRun(100, func() {
		frame, n := c.pack(batch)
		if n != len(batch) {
			t.Fatalf("a frame of %d packets", n)
		}
		for s.unpack(frame, buf); s.more(); {
			s.segment(buf)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a batch", allocs)
	}
}

func BenchmarkPack(b *testing.B) {
	c := merger(b)
	batch := slowPackets(plainTCP(false, 62000).superFrame(1448))
	b.SetBytes(62000)
	b.ReportAllocs()
	for b.Loop() {
		if _, n := c.pack(batch); n != len(batch) {
			b.Fatalf("%d packets", n)
		}
	}
}
