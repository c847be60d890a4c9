package main

import (
	"bytes"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
	"dsvpn/session/charm"
)

// rawPeer is a client made by hand. It has the cipher in common with the
// program and nothing else, so that it can say what no client of ours would.
type rawPeer struct {
	*net.TCPConn
	up, down charm.State // once the handshake is done
}

// Sizes of what it sends and gets, in bytes.
const (
	helloSize  = 32 + 8 + charm.HashSize // random, time, mac
	answerSize = 32 + charm.HashSize     // random, mac
	maxPacket  = 1<<16 - 1               // in a frame
)

// peerKey is what the two ends share.
type peerKey [charm.KeySize]byte

func readKey(t testing.TB, path string) (key peerKey) {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	if copy(key[:], b) < len(key) {
		t.Fatalf("the key has %d bytes", len(b))
	}
	return key
}

// hello makes the first message of a client whose clock shows this Unix time.
// The transcript goes on with the server's answer.
func (key *peerKey) hello(clock uint64) (hello []byte, transcript charm.State) {
	hello = make([]byte, helloSize)
	crand.Read(hello[:32])
	binary.LittleEndian.PutUint64(hello[32:], clock)
	transcript = charm.New((*[charm.KeySize]byte)(key), (*[charm.IVSize]byte)([]byte("VPN Key Exchange")))
	mac := transcript.Hash(hello[:40])
	copy(hello[40:], mac[:])
	return hello, transcript
}

// unixNow is the time as a hello has it.
func unixNow() uint64 { return uint64(time.Now().Unix()) }

// dialPeer connects from a host to a server.
func dialPeer(from *netlab.Host, server string) (*rawPeer, error) {
	var c net.Conn
	// On the host's own thread: host.Dial makes a thread for each connection.
	err := from.Do(func() (err error) {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(server, strconv.Itoa(defaultPort)), patience)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &rawPeer{TCPConn: c.(*net.TCPConn)}, nil
}

// handshake proves the key, with a clock that shows this time, and has the
// server prove it.
func (p *rawPeer) handshake(key *peerKey, clock uint64) error {
	hello, transcript := key.hello(clock)
	if _, err := p.Write(hello); err != nil {
		return err
	}
	answer := make([]byte, answerSize)
	if _, err := io.ReadFull(p, answer); err != nil {
		return fmt.Errorf("no answer to a hello: %w", err)
	}
	if mac := transcript.Hash(answer[:32]); !bytes.Equal(mac[:], answer[32:]) {
		return errors.New("the server's answer has a wrong mac")
	}
	session := transcript.Hash(nil)
	p.up = charm.New(&session, &[charm.IVSize]byte{0})
	p.down = charm.New(&session, &[charm.IVSize]byte{1})
	return nil
}

// frame makes the next frame, around anything of up to 65535 bytes.
func (p *rawPeer) frame(packet []byte) []byte {
	frame := make([]byte, 8+len(packet))
	binary.LittleEndian.PutUint16(frame, uint16(len(packet)))
	tag := p.up.Encrypt(frame[8:], packet)
	copy(frame[2:8], tag[:])
	return frame
}

// receive waits for the next frame of the server and returns what is in it.
func (p *rawPeer) receive() ([]byte, error) {
	var header [8]byte
	if _, err := io.ReadFull(p, header[:]); err != nil {
		return nil, err
	}
	packet := make([]byte, binary.LittleEndian.Uint16(header[:]))
	if _, err := io.ReadFull(p, packet); err != nil {
		return nil, err
	}
	if !p.down.Decrypt(packet, packet, header[2:]) {
		return nil, errors.New("a frame of the server has a wrong tag")
	}
	return packet, nil
}

// unheard ends what the peer has to say. The server must close now, in order,
// and may not have sent a byte.
func (p *rawPeer) unheard() error {
	if err := p.CloseWrite(); err != nil {
		return fmt.Errorf("the server has closed out of order: %w", err)
	}
	return p.noAnswer()
}

// noAnswer waits for the server to close, and closes too.
func (p *rawPeer) noAnswer() error {
	defer p.Close()
	p.SetReadDeadline(time.Now().Add(patience))
	n, err := io.Copy(io.Discard, p.TCPConn)
	switch {
	case n > 0:
		return fmt.Errorf("the server answers a stranger with %d bytes", n)
	case err != nil:
		return fmt.Errorf("the server does not close in order: %w", err)
	}
	return nil
}

// reset closes the connection without a goodbye.
func (p *rawPeer) reset() error {
	return errors.Join(p.SetLinger(0), p.Close())
}

// udpPacket makes an IP packet that holds a datagram, from port to port.
func udpPacket(from, to string, port uint16, payload []byte) []byte {
	source, target := netip.MustParseAddr(from), netip.MustParseAddr(to)
	udp := binary.BigEndian.AppendUint16(nil, port)
	udp = binary.BigEndian.AppendUint16(udp, port)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...) // no checksum
	if source.Is6() {
		header := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(len(udp)))
		header = append(header, unix.IPPROTO_UDP, 64)
		return append(append(append(header, source.AsSlice()...), target.AsSlice()...), udp...)
	}
	header := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+len(udp)))
	header = append(header, 0, 1, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	header = append(append(header, source.AsSlice()...), target.AsSlice()...)
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
	return append(header, udp...)
}

// A peer made from the description of the protocol, and not from the program,
// has a session and what comes through it.
func TestRawPeer(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	serveEcho(t, s.tr.server, serverTunnelIP)
	p, err := s.dial(0)
	check(t, err)
	defer p.Close()
	check(t, p.handshake(&s.key, unixNow()))

	question := udpPacket(clientTunnelIP, serverTunnelIP, 7103, []byte("who is there?"))
	_, err = p.Write(append(p.frame(nil), p.frame(question)...))
	check(t, err)
	check(t, s.server.await("Session established", patience))
	for {
		packet, err := p.receive()
		check(t, err)
		if bytes.HasSuffix(packet, []byte("who is there?")) {
			break
		}
	}
}
