package session

import (
	"encoding/binary"

	"dsvpn/session/charm"
)

// A sealer makes the frames of one direction. It and its opener are
// interfaces so that a session may change its codec between two frames, each
// direction at its own time.
type sealer interface {
	// sealedSize is the size of the frame for a packet of n bytes.
	sealedSize(n int) int
	// seal fills frame, which has the right size, with packet.
	seal(frame, packet []byte)
	// wipe forgets the keys. Nothing can be sealed afterwards.
	wipe()
}

// An opener takes the frames of one direction apart.
type opener interface {
	// frameSize tells from its start how long a frame is, or 0 if that takes
	// more of it than there is.
	frameSize(start []byte) int
	// open checks a whole frame and decrypts it where it lies. It returns the
	// part that is the packet, or [ErrCorrupted].
	open(frame []byte) (packet []byte, err error)
	// wipe forgets the keys. Nothing can be opened afterwards.
	wipe()
}

// Version 1: a frame is the length of the packet (two bytes, little-endian),
// the first six bytes of the tag, and the encrypted packet.
const (
	lengthSize = 2
	tagSize    = 6
	headerSize = lengthSize + tagSize

	maxPacket = 1<<(8*lengthSize) - 1
	maxFrame  = headerSize + maxPacket
)

// charmCodec is version 1 of the protocol, in one direction.
type charmCodec struct {
	state charm.State
}

func (c *charmCodec) wipe() { c.state.Wipe() }

func (c *charmCodec) sealedSize(n int) int { return headerSize + n }

func (c *charmCodec) seal(frame, packet []byte) {
	binary.LittleEndian.PutUint16(frame, uint16(len(packet)))
	tag := c.state.Encrypt(frame[headerSize:], packet)
	copy(frame[lengthSize:headerSize], tag[:])
}

func (c *charmCodec) frameSize(start []byte) int {
	if len(start) < lengthSize {
		return 0
	}
	return headerSize + int(binary.LittleEndian.Uint16(start))
}

func (c *charmCodec) open(frame []byte) ([]byte, error) {
	packet := frame[headerSize:]
	if !c.state.Decrypt(packet, packet, frame[lengthSize:headerSize]) {
		return nil, ErrCorrupted
	}
	return packet, nil
}
