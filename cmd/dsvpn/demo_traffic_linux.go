package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// Ports of what the internet host offers.
const (
	portWho  = "7001" // says whom it sees
	portSink = "7002" // takes data, and answers with their hash
	portPour = "7003" // sends data
)

// transfer is how much data is moved each way.
const transfer = 64 << 20

// prepare starts the services of the internet host.
func (d *demo) prepare(ctx context.Context) error {
	return errors.Join(
		d.serve(d.internet, ":"+portWho, sayWho),
		d.serve(d.internet, ":"+portSink, func(c net.Conn) error {
			h := sha256.New()
			if _, err := io.CopyN(h, c, transfer); err != nil {
				return err
			}
			_, err := c.Write(h.Sum(nil))
			return err
		}),
		d.serve(d.internet, ":"+portPour, func(c net.Conn) error {
			_, err := sendData(c)
			return err
		}),
	)
}

// sayWho tells a client the address that it comes from.
func sayWho(c net.Conn) error {
	_, err := fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
	return err
}

// sendData sends what all transfers send, and returns its hash.
func sendData(w io.Writer) (hash.Hash, error) {
	h := sha256.New()
	random := rand.NewChaCha8([32]byte{})
	_, err := io.CopyN(io.MultiWriter(w, h), random, transfer)
	return h, err
}

// ping sends one echo request from the client.
func (d *demo) ping(to netip.Addr) (rtt time.Duration, err error) {
	var c *icmp.PacketConn
	err = d.client.Do(func() (err error) {
		c, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	request, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 42069 >> 1, Seq: 1, Data: []byte("dsvpn")}}).Marshal(nil)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := c.SetDeadline(begin.Add(enough)); err != nil {
		return 0, err
	}
	if _, err := c.WriteTo(request, &net.IPAddr{IP: to.AsSlice()}); err != nil {
		return 0, err
	}
	reply := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(reply)
		if err != nil {
			return 0, err
		}
		m, err := icmp.ParseMessage(1, reply[:n]) // 1: ICMP for IPv4
		if err == nil && m.Type == ipv4.ICMPTypeEchoReply {
			return time.Since(begin), nil
		}
	}
}

// upload sends data and compares the hash that comes back. The rate is in
// Mb/s.
func (d *demo) upload(ctx context.Context) (rate float64, err error) {
	return d.move(ctx, portSink, func(c net.Conn) error {
		sent, err := sendData(c)
		if err != nil {
			return err
		}
		got := make([]byte, sha256.Size)
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		return sameHash(sent.Sum(nil), got)
	})
}

func (d *demo) download(ctx context.Context) (rate float64, err error) {
	return d.move(ctx, portPour, func(c net.Conn) error {
		got := sha256.New()
		if _, err := io.CopyN(got, c, transfer); err != nil {
			return err
		}
		want, err := sendData(io.Discard)
		return errors.Join(err, sameHash(want.Sum(nil), got.Sum(nil)))
	})
}

func sameHash(want, got []byte) error {
	if string(want) != string(got) {
		return errors.New("what arrived is not what was sent")
	}
	return nil
}

func (d *demo) move(ctx context.Context, port string, transport func(net.Conn) error) (rate float64, err error) {
	c, err := d.dial(ctx, enough, d.client, internetIP, port)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	begin := time.Now()
	err = transport(c)
	return transfer * 8 / 1e6 / time.Since(begin).Seconds(), err
}
