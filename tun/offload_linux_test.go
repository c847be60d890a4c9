package tun

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
)

// router is a host that forwards between three interfaces, all of which are
// the test's:
//
//	10.1.0.2 --- in (offloads)      plain --- 10.2.0.2
//	                           kernel
//	                                offload (offloads) --- 10.3.0.2
//
// The IPv6 addresses are 2001:db8:0:N::2. What goes to the plain interface in a
// large packet is cut by the kernel itself.
type router struct {
	*netlab.Host
	in, plain, offload Device
}

func newRouter(t *testing.T) *router {
	t.Helper()
	r := &router{Host: newHost(t)}
	check(t, r.SetSysctl("net.ipv4.ip_forward", "1"))
	for i, d := range []struct {
		dev  *Device
		name string
		opts []Option
	}{{&r.in, "in", []Option{offloaded(t)}}, {&r.plain, "plain", nil}, {&r.offload, "offload", []Option{offloaded(t)}}} {
		var err error
		*d.dev, err = openOn(t, r.Host, d.name, 1500, d.opts...)
		check(t, err)
		check(t, r.SetSysctl("net.ipv6.conf."+d.name+".disable_ipv6", "0"))
		net6 := netip.AddrFrom16([16]byte(address6(byte(i + 1)))).Prev()
		check(t, r.AddAddr(d.name, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i + 1), 0, 1}), 24)))
		check(t, r.AddAddr(d.name, netip.PrefixFrom(net6, 64)))
		check(t, r.SetUp(d.name))
	}
	check(t, r.SetSysctl("net.ipv6.conf.all.forwarding", "1"))
	return r
}

// hop is what a router does to a packet.
func hop(packet []byte) []byte {
	packet = bytes.Clone(packet)
	if packet[0]>>4 == 6 {
		packet[7]--
		return packet
	}
	packet[8]--
	packet[10], packet[11] = 0, 0
	binary.BigEndian.PutUint16(packet[10:], slowChecksum(packet[:int(packet[0]&15)*4]))
	return packet
}

func hops(packets [][]byte) (all [][]byte) {
	for _, p := range packets {
		all = append(all, hop(p))
	}
	return all
}

// readTCP reads so many packets of TCP. Others are the kernel's own.
func readTCP(t testing.TB, d Device, count int) (packets [][]byte) {
	t.Helper()
	check(t, d.SetReadDeadline(time.Now().Add(10*time.Second)))
	bufs, sizes := buffers(16) // fewer than some large packets are cut into
	for len(packets) < count {
		n, err := d.ReadBatch(bufs, sizes)
		if err != nil {
			t.Fatalf("after %d of %d packets: %v", len(packets), count, err)
		}
		for i := range n {
			if p, ok := parseTCP(bufs[i][:sizes[i]]); ok {
				packets = append(packets, bytes.Clone(p.bytes))
			}
		}
	}
	return packets
}

// inject writes a frame as it is.
func inject(t testing.TB, d Device, frame []byte) {
	t.Helper()
	var err error
	check(t, d.(*device).raw.Control(func(fd uintptr) { _, err = unix.Write(int(fd), frame) }))
	check(t, err)
}

func attrs(t testing.TB, h *netlab.Host, d Device) (a *netlink.LinkAttrs) {
	t.Helper()
	check(t, h.Do(func() error {
		link, err := netlink.LinkByName(d.Name())
		if err == nil {
			a = link.Attrs()
		}
		return err
	}))
	return a
}

// received returns how many packets the kernel has got from an interface.
func (r *router) received(t testing.TB, d Device) int {
	t.Helper()
	return int(attrs(t, r.Host, d).Statistics.RxPackets)
}

// Fewer packets may wait where each may be large.
func TestOffloadQueue(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, tt := range []struct {
		opts []Option
		want int
	}{{nil, 500}, {[]Option{offloaded(t)}, offloadQueue}} {
		d, err := openOn(t, h, Auto, 1500, tt.opts...)
		check(t, err)
		if got := attrs(t, h, d).TxQLen; got != tt.want {
			t.Errorf("%d packets may wait for %s, want %d", got, d.Name(), tt.want)
		}
	}
}

// What the kernel itself makes of a large packet, on its way to an interface
// without offloads, and what we make of it where it leaves that to us, is the
// same, and what it should be.
func TestSplitAsTheKernelDoes(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	for name, l := range largePackets() {
		t.Run(name, func(t *testing.T) {
			for _, way := range []struct {
				out Device
				net byte
			}{{r.plain, 2}, {r.offload, 3}} {
				l.to = way.net
				frame := l.superFrame(l.segment)
				want := hops(slowPackets(frame))
				headers := len(frame) - vnetHeaderLen - len(l.payload) // no lie here
				binary.NativeEndian.PutUint16(frame[2:], uint16(headers))
				inject(t, r.in, frame)
				equalPackets(t, readTCP(t, way.out, len(want)), want)
			}
		})
	}
	if r.offload.(*device).read.split.bytes == nil {
		t.Error("the kernel has cut all of them")
	}
}

// What is written in one and cut again by the kernel is what was to be
// written.
func TestCoalesceAsTheKernelSplits(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	for _, six := range []bool{false, true} {
		for _, size := range []int{1, 8, 100, 536, 1379, 1428} {
			t.Run(fmt.Sprintf("IPv6=%v, %d bytes", six, size), func(t *testing.T) {
				var batch [][]byte
				s := plainTCP(six, size)
				for range 100 {
					batch = append(batch, s.bytes())
					s = s.next(size)
				}
				s.payload, s.flags = s.payload[:(size+1)/2], tcpACK|tcpPSH
				batch = append(batch, s.bytes())

				before := r.received(t, r.in)
				check(t, r.in.WriteBatch(batch))
				equalPackets(t, readTCP(t, r.plain, len(batch)), hops(batch))
				most := 1 + len(batch)*(size+80)/MaxMTU*2
				if n := r.received(t, r.in) - before; n > most {
					t.Errorf("%d writes for %d packets, at most %d were to be", n, len(batch), most)
				}
			})
		}
	}
	if n := r.in.Dropped(); n != 0 {
		t.Errorf("Dropped = %d", n)
	}
}

// A packet with a bad checksum goes through as it is: a router does not look at
// that of TCP, and the receiver must.
func TestBadChecksumStaysBad(t *testing.T) {
	t.Parallel()
	r := newRouter(t)
	for _, six := range []bool{false, true} {
		var batch [][]byte
		s := plainTCP(six, 1000)
		for i := range 9 {
			p := s.bytes()
			if i%3 == 1 {
				corrupt(p, len(p)-1)
			}
			batch = append(batch, p)
			s = s.next(1000)
		}
		check(t, r.in.WriteBatch(batch))
		equalPackets(t, readTCP(t, r.plain, len(batch)), hops(batch))
	}
}

// offloadedPair returns a device with offloads, as far as it knows, whose
// kernel is the other end of a pair of sockets, and what that has refused.
func offloadedPair(t testing.TB) (d *device, kernel *os.File, refused *[]error) {
	t.Helper()
	d, kernel = framed(t)
	refused = new([]error)
	d.offload(func(err error) { *refused = append(*refused, err) })
	return d, kernel, refused
}

// A kernel that refuses large writes gets the same packets one by one, and no
// large one again. This one takes no message that its buffer has no room for.
func TestLargeWritesRefused(t *testing.T) {
	t.Parallel()
	d, kernel, refused := offloadedPair(t)
	if len(*refused) != 1 { // a socket has no such request
		t.Fatalf("refused: %v", *refused)
	}
	check(t, d.raw.Control(func(fd uintptr) {
		check(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10))
	}))
	batch := slowPackets(plainTCP(false, 40000).superFrame(1448))
	for range 2 {
		written := make(chan error, 1)
		go func() { written <- d.WriteBatch(batch) }()
		buf := make([]byte, 1<<16)
		for i, want := range batch {
			n, err := kernel.Read(buf)
			check(t, err)
			if !bytes.Equal(buf[:n], append(make([]byte, vnetHeaderLen), want...)) {
				t.Fatalf("packet %d is %.100x", i, buf[:n])
			}
		}
		check(t, <-written)
	}
	if len(*refused) != 2 {
		t.Errorf("refused: %v", *refused)
	}
	if n := d.Dropped(); n != 0 {
		t.Errorf("Dropped = %d", n)
	}
}

// Of a large packet that is cut into more than there are buffers, the rest
// comes first the next time, before what came later.
func TestSplitOverSeveralReads(t *testing.T) {
	t.Parallel()
	d, kernel, _ := offloadedPair(t)
	large, small := plainTCP(true, 1000).superFrame(10), plainTCP(false, 10)
	_, err := kernel.Write(large)
	check(t, err)
	_, err = kernel.Write(append(make([]byte, vnetHeaderLen), small.bytes()...))
	check(t, err)
	want := append(slowPackets(large), small.bytes())
	var got [][]byte
	bufs, sizes := buffers(7)
	for len(got) < len(want) {
		n, err := d.ReadBatch(bufs, sizes)
		check(t, err)
		if n < min(len(bufs), len(want)-len(got)) {
			t.Errorf("ReadBatch = %d, with %d of %d packets to come", n, len(want)-len(got), len(want))
		}
		for i := range n {
			got = append(got, bytes.Clone(bufs[i][:sizes[i]]))
		}
	}
	equalPackets(t, got, want)
}

// An interface that was made in advance is spared, and one that is not of our
// kind is refused as ever.
func TestOffloadNotForLastingInterfaces(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	addPersistent(t, h, "vpn")
	check(t, h.AddAddr("vpn", near))
	var refused []error
	opt := Offload(func(err error) { refused = append(refused, err) })
	d, err := openOn(t, h, "vpn", 1500, opt)
	check(t, err)
	if len(refused) != 1 || d.(*device).read.split != nil {
		t.Errorf("refused: %v", refused)
	}
	check(t, h.SetUp("vpn")) // only now: it takes the kernel its time to notice a carrier
	exchange(t, d, socket(t, h))
	if _, err := openOn(t, h, "lo", 1500, opt); err == nil || len(refused) != 1 {
		t.Errorf("Open of lo: %v, refused: %v", err, refused)
	}
}
