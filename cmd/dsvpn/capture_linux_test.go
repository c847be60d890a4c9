package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
)

// packet is what a capture keeps of an IP packet. Ports are zero where there
// are none.
type packet struct {
	from, to         netip.Addr
	protocol         byte
	fromPort, toPort uint16
}

func (p packet) String() string {
	return fmt.Sprintf("protocol %d from %v to %v", p.protocol,
		netip.AddrPortFrom(p.from, p.fromPort), netip.AddrPortFrom(p.to, p.toPort))
}

// parsePacket reads an IP packet without extension headers.
func parsePacket(b []byte) (p packet, ok bool) {
	var payload []byte
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		p.from, _ = netip.AddrFromSlice(b[12:16])
		p.to, _ = netip.AddrFromSlice(b[16:20])
		p.protocol = b[9]
		payload = b[min(len(b), int(b[0]&15)*4):]
	case len(b) >= 40 && b[0]>>4 == 6:
		p.from, _ = netip.AddrFromSlice(b[8:24])
		p.to, _ = netip.AddrFromSlice(b[24:40])
		p.protocol = b[6]
		payload = b[40:]
	default:
		return packet{}, false
	}
	if (p.protocol == unix.IPPROTO_TCP || p.protocol == unix.IPPROTO_UDP) && len(payload) >= 4 {
		p.fromPort = binary.BigEndian.Uint16(payload)
		p.toPort = binary.BigEndian.Uint16(payload[2:])
	}
	return p, true
}

// capture records the IP packets that come in on an interface.
type capture struct {
	mu      sync.Mutex
	packets []packet
	done    chan struct{}
	ended   chan struct{}
}

func newCapture(t testing.TB, h *netlab.Host, iface string) *capture {
	t.Helper()
	var fd int
	check(t, h.Do(func() (err error) {
		fd, err = captureSocket(iface)
		return err
	}))
	c := &capture{done: make(chan struct{}), ended: make(chan struct{})}
	go c.run(fd)
	t.Cleanup(c.stop)
	return c
}

// captureSocket returns a socket for all packets on an interface of the
// current namespace. A read from it waits a tenth of a second at most.
func captureSocket(iface string) (fd int, err error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return -1, err
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	// Of protocol 0 a socket gets nothing until it is bound.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	for _, step := range []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) },
		func() error {
			return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000})
		},
		func() error { return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: i.Index}) },
	} {
		if err := step(); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func (c *capture) run(fd int) {
	defer close(c.ended)
	defer unix.Close(fd)
	b := make([]byte, 1<<16)
	for {
		select {
		case <-c.done:
			return
		default:
		}
		n, from, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			continue // nothing came
		}
		if at, ok := from.(*unix.SockaddrLinklayer); !ok || at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if p, ok := parsePacket(b[:n]); ok {
			c.mu.Lock()
			c.packets = append(c.packets, p)
			c.mu.Unlock()
		}
	}
}

func (c *capture) stop() {
	select {
	case <-c.done:
	default:
		close(c.done)
	}
	<-c.ended
}

// upTo ends the capture and returns what came in until now: until a datagram
// that the host sends to this address, which must lead to the interface.
func (c *capture) upTo(t testing.TB, h *netlab.Host, address string) []packet {
	t.Helper()
	conn := mustDial(t, h, "udp", address, portMarker)
	from, to := conn.LocalAddr().(*net.UDPAddr).AddrPort(), conn.RemoteAddr().(*net.UDPAddr).AddrPort()
	var before []packet
	eventually(t, "the mark is in the capture", func() bool {
		conn.Write([]byte("mark")) // a refusal of the last one is no news
		c.mu.Lock()
		defer c.mu.Unlock()
		i := slices.IndexFunc(c.packets, func(p packet) bool {
			return p.fromPort == from.Port() && p.toPort == to.Port() && p.to == to.Addr()
		})
		if i >= 0 {
			before = slices.Clone(c.packets[:i])
		}
		return i >= 0
	})
	c.stop()
	return before
}
