package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"dsvpn/netcfg/netlab"
	"dsvpn/netcfg/netlab/netlabtest"
)

// nameServer answers each question for an IPv4 address with the same one.
type nameServer struct {
	mu     sync.Mutex
	answer netip.Addr
	askers []netip.Addr // who has asked, in order
}

func newNameServer(t testing.TB, h *netlab.Host, address string, answer netip.Addr) *nameServer {
	t.Helper()
	c, err := h.ListenPacket("udp", net.JoinHostPort(address, "53"))
	check(t, err)
	t.Cleanup(func() { c.Close() })
	s := &nameServer{answer: answer}
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply, err := s.reply(b[:n], addrOf(from)); err == nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	return s
}

func (s *nameServer) reply(query []byte, from netip.Addr) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, fmt.Errorf("%d questions", len(m.Questions))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askers = append(s.askers, from)
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 300},
			Body:   &dnsmessage.AResource{A: s.answer.As4()},
		}}
	}
	return m.Pack()
}

func (s *nameServer) change(answer netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// count is how many questions there were.
func (s *nameServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.askers)
}

// seen returns the addresses that questions came from, each once.
func (s *nameServer) seen() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Clone(s.askers)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// Programs on the client's host resolve names through the tunnel.
func TestResolveThroughTunnel(t *testing.T) {
	t.Parallel()
	tr := newTunnel(t)
	want := netip.MustParseAddr("192.0.2.80")
	s := newNameServer(t, tr.internet, internetIP, want)
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return tr.client.Dial(ctx, network, net.JoinHostPort(internetIP, "53"))
	}}
	got, err := r.LookupNetIP(t.Context(), "ip4", "www.example.")
	check(t, err)
	if len(got) != 1 || got[0].Unmap() != want {
		t.Errorf("www.example is %v, want %v", got, want)
	}
	if seen := s.seen(); len(seen) != 1 || seen[0].String() != serverUplinkIP {
		t.Errorf("the name server sees %v, want %s", seen, serverUplinkIP)
	}
}

// The client resolves the name of its server past the tunnel, and again for
// each attempt: so it finds a server that has moved, while the tunnel, which
// everything else goes into, is down.
//
// The name server and the addresses of the server are in no network of the
// client's: what is not marked cannot get there but through the tunnel.
func TestResolveServer(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "unshare", "mount", "sh")
	const nameServerIP, oldIP, newIP = "192.0.2.53", "192.0.2.1", "192.0.2.2"
	tr := newTestTrial(t)
	for _, address := range []string{nameServerIP, oldIP, newIP} {
		check(t, tr.server.AddAddr("lo", netip.MustParsePrefix(address+"/32")))
	}
	wantHostsUnchanged(t, tr)
	names := newNameServer(t, tr.server, nameServerIP, netip.MustParseAddr(oldIP))
	serveCaller(t, tr, tr.internet, "")

	server := startServer(t, tr, oldIP)
	client := startClientOf(t, tr, "server.example", nameServerIP)
	check(t, server.await("Session established", patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)

	names.change(netip.MustParseAddr(newIP))
	check(t, server.stop(syscall.SIGKILL))
	server = startServer(t, tr, newIP)
	check(t, server.await("Session established", patience))
	check(t, client.await("Connected remote="+newIP, patience))
	wantCaller(t, tr.client, internetIP, serverUplinkIP)
	if seen := names.seen(); len(seen) != 1 || seen[0].String() != clientIP {
		t.Errorf("the name server sees %v, want %s alone", seen, clientIP)
	}
}

// startClientOf starts a client of a server that it knows by name, with a
// /etc/resolv.conf of its own.
func startClientOf(t *testing.T, tr *trial, server, nameServer string) *process {
	t.Helper()
	dir := t.TempDir()
	conf, wrapper := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "dsvpn")
	check(t, os.WriteFile(conf, []byte("nameserver "+nameServer+"\noptions timeout:1\n"), 0o644))
	check(t, os.WriteFile(wrapper, fmt.Appendf(nil, `#!/bin/sh
exec unshare -m sh -c 'mount --bind "$0" /etc/resolv.conf && exec "$@"' %q %q "$@"
`, conf, tr.exe), 0o755))
	wrapped := *tr
	wrapped.exe = wrapper
	p, err := wrapped.start(tr.client, "Connected", "client", tr.key(), server)
	return stopAtEnd(t, p, err)
}
