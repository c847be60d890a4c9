package session

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers questions for IPv4 addresses, or says that there is no
// such name if it has no answer. It counts the questions.
func nameServer(t *testing.T, answer netip.Addr) (netip.AddrPort, *atomic.Int32) {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	asked := new(atomic.Int32)
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil {
				continue
			}
			asked.Add(1)
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; !answer.IsValid() {
				m.RCode = dnsmessage.RCodeNameError
			} else if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class},
					Body:   &dnsmessage.AResource{A: answer.As4()},
				}}
			}
			if reply, err := m.Pack(); err == nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), asked
}

// A client that is given name servers asks these, the next one when one does
// not answer, and no other when one says that there is no such name.
func TestNameServers(t *testing.T) {
	want := netip.MustParseAddr("192.0.2.1")
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := dead.LocalAddr().(*net.UDPAddr).AddrPort()
	dead.Close()
	knows, _ := nameServer(t, want)
	deniesIt, _ := nameServer(t, netip.Addr{})
	second, asked := nameServer(t, want)

	got, err := newResolver(0, []netip.AddrPort{nobody, knows}).lookup(t.Context(), "vpn.example.", nil)
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("the second of two name servers: %v, %v, want %v", got, err, want)
	}
	got, err = newResolver(0, []netip.AddrPort{deniesIt, second}).lookup(t.Context(), "vpn.example.", nil)
	if err == nil || asked.Load() > 0 {
		t.Errorf("a name that there is not: %v, %v, and the second server was asked %d times", got, err, asked.Load())
	}
}
