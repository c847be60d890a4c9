package charm

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"
)

// known answers of the C program. They are embedded, so that a test binary
// for another machine can run anywhere.
//
//go:embed testdata/charm.json
var knownJSON []byte

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type keyed struct {
	Key, IV    hexBytes
	StateAfter hexBytes `json:"state_after"`
}

func (k keyed) state() State {
	if len(k.IV) == 0 {
		return New((*[KeySize]byte)(k.Key), nil)
	}
	return New((*[KeySize]byte)(k.Key), (*[IVSize]byte)(k.IV))
}

type answers struct {
	Init []struct {
		keyed
		State hexBytes
	}
	Hash []struct {
		keyed
		Message, Hash hexBytes
	}
	Stream []struct {
		keyed
		Messages []struct{ Plaintext, Ciphertext, Tag hexBytes }
	}
	Handshake []struct {
		Key                 hexBytes
		ClientRandom        hexBytes `json:"client_random"`
		ServerRandom        hexBytes `json:"server_random"`
		Timestamp           uint64
		ClientHello         hexBytes `json:"client_hello"`
		ServerHello         hexBytes `json:"server_hello"`
		SessionKey          hexBytes `json:"session_key"`
		ClientToServerState hexBytes `json:"client_to_server_state"`
		ServerToClientState hexBytes `json:"server_to_client_state"`
		ClientFirstPacket   hexBytes `json:"client_first_packet"`
		ClientFirstFrame    hexBytes `json:"client_first_frame"`
		ServerFirstPacket   hexBytes `json:"server_first_packet"`
		ServerFirstFrame    hexBytes `json:"server_first_frame"`
	}
	Large struct {
		Messages []struct {
			Length           int
			CiphertextSHA256 hexBytes `json:"ciphertext_sha256"`
			Tag              hexBytes
		}
	}
}

func known(t *testing.T) (a answers) {
	t.Helper()
	if err := json.Unmarshal(knownJSON, &a); err != nil {
		t.Fatal(err)
	}
	if len(a.Init) == 0 || len(a.Hash) == 0 || len(a.Stream) == 0 || len(a.Handshake) == 0 || len(a.Large.Messages) == 0 {
		t.Fatal("a kind of known answers is missing")
	}
	return a
}

func (s *State) bytes() []byte {
	var b []byte
	for _, w := range s.st {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s = %x, want %x", what, got, want)
	}
}

func TestKnownInit(t *testing.T) { each(t, knownInit) }

func knownInit(t *testing.T) {
	for _, k := range known(t).Init {
		s := k.state()
		equal(t, "state", s.bytes(), k.State)
	}
}

func TestKnownHash(t *testing.T) { each(t, knownHash) }

func knownHash(t *testing.T) {
	for _, k := range known(t).Hash {
		s := k.state()
		sum := s.Hash(k.Message)
		equal(t, fmt.Sprintf("hash of %d bytes", len(k.Message)), sum[:], k.Hash)
		equal(t, "state", s.bytes(), k.StateAfter)
	}
}

func TestKnownStream(t *testing.T) { each(t, knownStream) }

func knownStream(t *testing.T) {
	for _, k := range known(t).Stream {
		enc, dec, inPlace := k.state(), k.state(), k.state()
		for _, m := range k.Messages {
			name := fmt.Sprintf("%d bytes", len(m.Plaintext))
			out := make([]byte, len(m.Plaintext))
			tag := enc.Encrypt(out, m.Plaintext)
			equal(t, "ciphertext of "+name, out, m.Ciphertext)
			equal(t, "tag of "+name, tag[:], m.Tag)

			back := make([]byte, len(out)+3) // longer than needed: the rest stays
			if !dec.Decrypt(back, out, m.Tag[:6]) {
				t.Errorf("%s: the tag was refused", name)
			}
			equal(t, "plaintext of "+name, back, append(m.Plaintext[:len(m.Plaintext):len(m.Plaintext)], 0, 0, 0))

			copy(out, m.Plaintext)
			tag = inPlace.Encrypt(out, out)
			equal(t, "ciphertext in place of "+name, out, m.Ciphertext)
			equal(t, "tag in place of "+name, tag[:], m.Tag)
		}
		equal(t, "state", enc.bytes(), k.StateAfter)
		equal(t, "state", dec.bytes(), k.StateAfter)
	}
}

func TestKnownHandshake(t *testing.T) { each(t, knownHandshake) }

func knownHandshake(t *testing.T) {
	for _, k := range known(t).Handshake {
		kx := New((*[KeySize]byte)(k.Key), (*[IVSize]byte)([]byte("VPN Key Exchange")))
		hello := binary.LittleEndian.AppendUint64(bytes.Clone(k.ClientRandom), k.Timestamp)
		mac := kx.Hash(hello)
		equal(t, "client hello", append(hello, mac[:]...), k.ClientHello)
		mac = kx.Hash(k.ServerRandom)
		equal(t, "server hello", append(bytes.Clone(k.ServerRandom), mac[:]...), k.ServerHello)
		key := kx.Hash(nil)
		equal(t, "session key", key[:], k.SessionKey)

		up, down := New(&key, &[IVSize]byte{0}), New(&key, &[IVSize]byte{1})
		equal(t, "state up", up.bytes(), k.ClientToServerState)
		equal(t, "state down", down.bytes(), k.ServerToClientState)
		equal(t, "first frame up", frame(&up, k.ClientFirstPacket), k.ClientFirstFrame)
		equal(t, "first frame down", frame(&down, k.ServerFirstPacket), k.ServerFirstFrame)
	}
}

func frame(s *State, packet []byte) []byte {
	out := make([]byte, 8+len(packet))
	binary.LittleEndian.PutUint16(out, uint16(len(packet)))
	tag := s.Encrypt(out[8:], packet)
	copy(out[2:8], tag[:])
	return out
}

func TestKnownLarge(t *testing.T) { each(t, knownLarge) }

func knownLarge(t *testing.T) {
	large := known(t).Large
	var key [KeySize]byte
	var iv [IVSize]byte
	for i := range key {
		key[i] = byte(i)
	}
	for i := range iv {
		iv[i] = byte(0xa0 + i)
	}
	for _, m := range large.Messages {
		s := New(&key, &iv) // each message starts a stream of its own
		msg := make([]byte, m.Length)
		for i := range msg {
			msg[i] = byte(i % 251)
		}
		tag := s.Encrypt(msg, msg)
		sum := sha256.Sum256(msg)
		equal(t, fmt.Sprintf("ciphertext of %d bytes", m.Length), sum[:], m.CiphertextSHA256)
		equal(t, fmt.Sprintf("tag of %d bytes", m.Length), tag[:], m.Tag)
	}
}

// A wrong tag or ciphertext leaves no plaintext behind, wherever the wrong
// bit is.
func TestForgery(t *testing.T) { each(t, forgery) }

func forgery(t *testing.T) {
	var key [KeySize]byte
	for _, size := range []int{0, 1, 15, 16, 17, 32, 45} {
		start := New(&key, nil)
		sealed := make([]byte, size)
		enc := start
		tag := enc.Encrypt(sealed, bytes.Repeat([]byte{0x45}, size))
		whole := append(bytes.Clone(sealed), tag[:]...)
		for bit := range 8 * len(whole) {
			forged := bytes.Clone(whole)
			forged[bit/8] ^= 1 << (bit % 8)
			msg, tag := forged[:size], forged[size:]
			dec := start
			if dec.Decrypt(msg, msg, tag) {
				t.Fatalf("%d bytes: bit %d may be flipped", size, bit)
			}
			if !bytes.Equal(msg, make([]byte, size)) {
				t.Fatalf("%d bytes, bit %d: plaintext is left", size, bit)
			}
		}
	}
}

func TestWipe(t *testing.T) {
	s := New(new([KeySize]byte), nil)
	s.Wipe()
	if s != (State{}) {
		t.Error("the state is not zero")
	}
}

func TestAllocations(t *testing.T) { each(t, allocations) }

func allocations(t *testing.T) {
	var key [KeySize]byte
	s := New(&key, nil)
	msg := make([]byte, 1400)
	allocs := testing.AllocsPerRun(100, func() {
		enc := New(&key, nil)
		dec := enc
		tag := enc.Encrypt(msg, msg)
		if !dec.Decrypt(msg, msg, tag[:6]) {
			t.Fatal("the tag was refused")
		}
		s.Hash(msg)
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want none", allocs)
	}
}

func BenchmarkEncrypt(b *testing.B) { benchmark(b, (*State).Encrypt) }

func BenchmarkDecrypt(b *testing.B) {
	benchmark(b, func(s *State, dst, src []byte) (tag [TagSize]byte) {
		s.Decrypt(dst, src, tag[:])
		return tag
	})
}

func benchmark(b *testing.B, op func(s *State, dst, src []byte) [TagSize]byte) {
	defer use(len(implementations) - 1)
	for _, size := range []int{64, 1400, 8948} {
		for i, name := range implementations {
			b.Run(fmt.Sprintf("%d/%s", size, name), func(b *testing.B) {
				use(i)
				s := New(new([KeySize]byte), nil)
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					op(&s, msg, msg)
				}
			})
		}
	}
}
