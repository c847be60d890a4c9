package tun

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every test here has a host of its own with one interface:
//
//	socket on 10.9.0.1  ---  kernel  ---  tun  ---  the test, as 10.9.0.2
var (
	near = netip.MustParsePrefix("10.9.0.1/24")
	far  = netip.MustParseAddr("10.9.0.2")
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newHost(t testing.TB) *netlab.Host {
	t.Helper()
	h := netlabtest.Host(t, netlabtest.New(t), "h")
	// The kernel would send IPv6 router solicitations into the interface.
	check(t, h.SetSysctl("net.ipv6.conf.default.disable_ipv6", "1"))
	return h
}

// openOn opens an interface on the host; it is closed with the test.
func openOn(t testing.TB, h *netlab.Host, name string, mtu int, opts ...Option) (Device, error) {
	t.Helper()
	var d Device
	err := h.Do(func() (err error) {
		d, err = Open(t.Context(), name, mtu, opts...)
		return err
	})
	if err == nil {
		t.Cleanup(func() { d.Close() })
	}
	return d, err
}

// ready returns an interface that is up and has its address.
func ready(t testing.TB, h *netlab.Host, opts ...Option) Device {
	t.Helper()
	d, err := openOn(t, h, Auto, 1500, opts...)
	check(t, err)
	check(t, h.AddAddr(d.Name(), near))
	check(t, h.SetUp(d.Name()))
	return d
}

// offloaded makes a device with offloads, which this kernel must not refuse.
func offloaded(t testing.TB) Option {
	return Offload(func(err error) { t.Errorf("refused: %v", err) })
}

// withAndWithout runs a test with a plain device, and with one with offloads.
func withAndWithout(t *testing.T, test func(t *testing.T, opts ...Option)) {
	t.Run("plain", func(t *testing.T) { test(t) })
	t.Run("offload", func(t *testing.T) { test(t, offloaded(t)) })
}

// socket returns a UDP socket on the host that sends to the far port 7.
func socket(t testing.TB, h *netlab.Host) *net.UDPConn {
	t.Helper()
	var s *net.UDPConn
	check(t, h.Do(func() (err error) {
		s, err = net.DialUDP("udp", &net.UDPAddr{IP: near.Addr().AsSlice(), Port: 7},
			&net.UDPAddr{IP: far.AsSlice(), Port: 7})
		return err
	}))
	t.Cleanup(func() { s.Close() })
	check(t, s.SetReadDeadline(time.Now().Add(5*time.Second)))
	return s
}

// datagram returns a packet from the far port 7 to the near one. Its UDP
// checksum is zero, which means none.
func datagram(payload string) []byte {
	p := make([]byte, 28, 28+len(payload))
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(28+len(payload)))
	copy(p[12:], far.AsSlice())
	copy(p[16:], near.Addr().AsSlice())
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum+sum>>16))
	binary.BigEndian.PutUint16(p[20:], 7)
	binary.BigEndian.PutUint16(p[22:], 7)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	return append(p, payload...)
}

// buffers returns n buffers for ReadBatch, and their sizes.
func buffers(n int) ([][]byte, []int) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 1500)
	}
	return bufs, make([]int, n)
}

// expectRead reads one packet and wants the payload in it.
func expectRead(t testing.TB, d Device, want string) {
	t.Helper()
	check(t, d.SetReadDeadline(time.Now().Add(5*time.Second)))
	bufs, sizes := buffers(1)
	_, err := d.ReadBatch(bufs, sizes)
	check(t, err)
	if got := string(bufs[0][28:sizes[0]]); got != want {
		t.Fatalf("read a packet with %q, want %q", got, want)
	}
	check(t, d.SetReadDeadline(time.Time{}))
}

// exchange sends one packet each way.
func exchange(t testing.TB, d Device, s *net.UDPConn) {
	t.Helper()
	_, err := s.Write([]byte("out"))
	check(t, err)
	expectRead(t, d, "out")
	check(t, d.WriteBatch([][]byte{datagram("in")}))
	buf := make([]byte, 100)
	n, err := s.Read(buf)
	check(t, err)
	if string(buf[:n]) != "in" {
		t.Fatalf("the socket reads %q", buf[:n])
	}
}

func mtuOf(t testing.TB, h *netlab.Host, name string) (mtu int) {
	t.Helper()
	check(t, h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err == nil {
			mtu = link.Attrs().MTU
		}
		return err
	}))
	return mtu
}
