package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"dsvpn/netcfg/netlab"
)

// network is three hosts in network namespaces: a contender's server and
// client, and the host that the client talks to through both.
//
//	client                  server                      internet
//	198.51.100.2 ---------- 198.51.100.1
//	uplink           access
//	                        203.0.113.1 --------------- 203.0.113.2
//	                        uplink                      wire
//
// The internet host has no route to the client's network: what gets there and
// back has gone through a network address translation on the server.
type network struct {
	lab                      *netlab.Lab
	client, server, internet *netlab.Host

	echo    net.PacketConn
	cleanup []func() // for what is not gone with the hosts
}

// Addresses on the cables, all of them for documentation (RFC 5737).
const (
	clientIP, serverIP         = "198.51.100.2", "198.51.100.1"
	serverUplinkIP, internetIP = "203.0.113.1", "203.0.113.2"

	clientNet = "198.51.100.0/24"
	echoPort  = 7 // RFC 862
)

var anywhere = netip.MustParsePrefix("0.0.0.0/0")

func newNetwork() (*network, error) {
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	n := &network{lab: lab}
	if err := n.build(); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *network) build() (err error) {
	for _, h := range []struct {
		name string
		host **netlab.Host
	}{{"client", &n.client}, {"server", &n.server}, {"internet", &n.internet}} {
		if *h.host, err = n.lab.Host(h.name); err != nil {
			return err
		}
	}
	end := func(h *netlab.Host, iface, addr string) netlab.End {
		return netlab.End{Host: h, Interface: iface, Addrs: []netip.Prefix{netip.MustParsePrefix(addr + "/24")}}
	}
	err = errors.Join(
		n.lab.Cable(end(n.client, "uplink", clientIP), end(n.server, "access", serverIP)),
		n.lab.Cable(end(n.server, "uplink", serverUplinkIP), end(n.internet, "wire", internetIP)),
		n.client.AddRoute(anywhere, netip.MustParseAddr(serverIP)),
		n.server.AddRoute(anywhere, netip.MustParseAddr(internetIP)),
	)
	if err != nil {
		return err
	}
	n.echo, err = n.internet.ListenPacket("udp4", fmt.Sprintf("%s:%d", internetIP, echoPort))
	if err != nil {
		return err
	}
	go func() {
		var buf [16]byte
		for {
			size, from, err := n.echo.ReadFrom(buf[:])
			if err != nil {
				return
			}
			n.echo.WriteTo(buf[:size], from) // where there is no way back yet, the next one may arrive
		}
	}()
	return nil
}

// close kills what runs on the hosts and takes them away.
func (n *network) close() error {
	if n.echo != nil {
		n.echo.Close()
	}
	err := n.lab.Close()
	for _, f := range n.cleanup {
		f()
	}
	return err
}

// reach returns when a first datagram has made the way from the client to the
// internet host and back.
func (n *network) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	conn, err := n.client.ListenPacket("udp4", ":0") // unconnected: each datagram takes the route of its time
	if err != nil {
		return err
	}
	defer conn.Close()
	answer := make(chan error, 1)
	go func() {
		_, _, err := conn.ReadFrom(make([]byte, 16))
		answer <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	to := &net.UDPAddr{IP: net.ParseIP(internetIP), Port: echoPort}
	for {
		conn.WriteTo([]byte("here?"), to) // fails as long as there is no route
		select {
		case err := <-answer:
			return err
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing comes back from the internet host: %w", context.Cause(ctx))
		}
	}
}

// masquerade lets the server forward, and gives packets that come from these
// addresses its own. Contenders that do not do so themselves call it.
func (n *network) masquerade(from netip.Prefix) error {
	if err := n.server.SetSysctl("net.ipv4.ip_forward", "1"); err != nil {
		return err
	}
	return n.server.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "bench"})
		chain := c.AddChain(&nftables.Chain{
			Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
		})
		mask := net.CIDRMask(from.Bits(), 32)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			// The source address is 12 bytes into an IPv4 header.
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.Masked().Addr().AsSlice()},
			&expr.Masq{},
		}})
		return c.Flush()
	})
}

// intoTunnel replaces the client's default route by one into an interface.
// The server is reached without: it is in the client's network.
func (n *network) intoTunnel(iface string) error {
	return n.client.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{
			LinkIndex: link.Attrs().Index,
			Dst:       &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
		})
	})
}

// shape makes the cable between client and server as slow as this, in bits per
// second, in both directions.
func (n *network) shape(rate uint64) error {
	return errors.Join(n.client.Shape("uplink", rate), n.server.Shape("access", rate))
}

func (n *network) unshape() error {
	return errors.Join(n.client.Unshape("uplink"), n.server.Unshape("access"))
}
