package session

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"dsvpn/session/charm"
)

// A session between two processes of the C program, byte by byte.
//
//go:embed testdata/session.json
var recordedJSON []byte

// recording is that session, taken apart.
type recording struct {
	key           Key
	now           time.Time
	hello, answer []byte
	up, down      []byte // frames, after the handshake
}

var recorded = sync.OnceValue(func() (r recording) {
	var file struct {
		Key    string
		Chunks []struct{ Dir, Hex string }
	}
	if err := json.Unmarshal(recordedJSON, &file); err != nil {
		panic(err)
	}
	bytesOf := func(text string) []byte {
		b, err := hex.DecodeString(text)
		if err != nil {
			panic(err)
		}
		return b
	}
	r.key = Key(bytesOf(file.Key))
	for _, chunk := range file.Chunks {
		if chunk.Dir == "client" {
			r.up = append(r.up, bytesOf(chunk.Hex)...)
		} else {
			r.down = append(r.down, bytesOf(chunk.Hex)...)
		}
	}
	r.hello, r.up = r.up[:helloSize:helloSize], r.up[helloSize:]
	r.answer, r.down = r.down[:answerSize:answerSize], r.down[answerSize:]
	r.now = time.Unix(int64(binary.LittleEndian.Uint64(r.hello[randomSize:])), 0)
	return r
})

// config has the key of the recording, its time, and random as its source of
// randomness.
func (r recording) config(random []byte) *Config {
	return &Config{Key: r.key, Now: func() time.Time { return r.now }, Rand: bytes.NewReader(random[:randomSize])}
}

func (r recording) clientSide() (conn *scriptConn, up, down charm.State, err error) {
	conn = &scriptConn{input: bytes.Clone(r.answer)}
	up, down, err = clientHandshake(conn, r.config(r.hello))
	return conn, up, down, err
}

func (r recording) serverSide() (conn *scriptConn, up, down charm.State, err error) {
	conn = &scriptConn{input: bytes.Clone(r.hello)}
	up, down, _, err = serverHandshake(conn, r.config(r.answer), noReplays(1))
	return conn, up, down, err
}

// packets decrypts frames, and checks that encrypting gives them back.
func packets(t testing.TB, stream []byte, state charm.State) (packets [][]byte) {
	t.Helper()
	open, seal := charmCodec{state}, charmCodec{state}
	for stream = bytes.Clone(stream); len(stream) > 0; {
		size := open.frameSize(stream)
		want := bytes.Clone(stream[:size])
		packet, err := open.open(stream[:size])
		if err != nil {
			t.Fatalf("frame %d: %v", len(packets), err)
		}
		again := make([]byte, seal.sealedSize(len(packet)))
		if seal.seal(again, packet); !bytes.Equal(again, want) {
			t.Fatalf("frame %d encrypts to %x…, want %x…", len(packets), head(again), head(want))
		}
		packets, stream = append(packets, bytes.Clone(packet)), stream[size:]
	}
	return packets
}

func TestRecordedHandshake(t *testing.T) {
	r := recorded()
	client, up, down, err := r.clientSide()
	if err != nil || !bytes.Equal(client.written.Bytes(), r.hello) {
		t.Fatalf("client: %v, hello %x, want %x", err, client.written.Bytes(), r.hello)
	}
	server, up2, down2, err := r.serverSide()
	if err != nil || !bytes.Equal(server.written.Bytes(), r.answer) {
		t.Fatalf("server: %v, answer %x, want %x", err, server.written.Bytes(), r.answer)
	}
	if up != up2 || down != down2 {
		t.Fatal("the two sides have different ciphers")
	}
	if n, m := len(packets(t, r.up, up)), len(packets(t, r.down, down)); n < 8 || m < 8 {
		t.Errorf("%d frames up and %d down: too few for this recording", n, m)
	}
}

// However TCP cuts the stream, the same packets come out of it.
func TestRecordedStream(t *testing.T) {
	r := recorded()
	_, up, down, err := r.serverSide()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, dir := range []struct {
		name   string
		stream []byte
		state  charm.State
	}{{"up", r.up, up}, {"down", r.down, down}} {
		want := packets(t, dir.stream, dir.state)
		for name, step := range map[string]func() int{
			"at once":       nil,
			"byte by byte":  func() int { return 1 },
			"random, short": func() int { return 1 + random.IntN(16) },
			"random, long":  func() int { return 1 + random.IntN(8192) },
		} {
			t.Run(fmt.Sprint(dir.name, " ", name), func(t *testing.T) {
				conn := &scriptConn{input: bytes.Clone(dir.stream), step: step}
				got, err := receiveAll(conn, dir.state)
				if err != errPeerClosed {
					t.Errorf("the stream ends with %v", err)
				}
				comparePackets(t, got, want)
			})
		}
	}
}

// receiveAll receives until there is an error.
func receiveAll(conn net.Conn, state charm.State) (all [][]byte, err error) {
	c := newConn(conn, connConfig(maxPacket), &charmCodec{state}, &charmCodec{state})
	defer c.Close(errStopped)
	for {
		packets, err := c.Receive()
		for _, p := range packets {
			all = append(all, bytes.Clone(p))
		}
		if err != nil {
			return all, err
		}
	}
}

func comparePackets(t testing.TB, got, want [][]byte) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d is %x…, want %x…", i, head(got[i]), head(want[i]))
		}
	}
}
