// Package session carries IP packets between a device and a peer over one
// TCP connection, in the DSVPN protocol, version 1.
//
// Two peers share a key. The client says hello with a random value, the time
// and a keyed hash of both; the server checks it and answers likewise; each
// direction then has a cipher of its own and carries frames, one per packet.
// The package plays both roles: [Serve] on a listener of [Listen], and
// [Client.Run].
//
// The way of a packet out of the host:
//
//  1. The kernel routes it into the device.
//  2. The one goroutine that reads the device takes it, together with all
//     others that are there ([Device.ReadBatch]).
//  3. It looks up the session of the moment; with none, the packets are
//     dropped.
//  4. Encryption copies each packet, the only time it is copied, behind its
//     header into the session's output buffer ([Conn.Send]).
//  5. One write hands the whole batch to TCP.
//
// And of a packet into the host:
//
//  1. One read takes from TCP as much as is there.
//  2. Every whole frame of it is checked and decrypted where it lies
//     ([Conn.Receive]). What is no IP packet for the device is counted and
//     dropped.
//  3. The session's own goroutine hands all packets to the device at once
//     ([Device.WriteBatch]).
//
// The two ways share nothing: a peer that stops reading loses what is sent to
// it, and no more. The first error of either ends the session; an error of the
// device ends everything.
//
// Strangers meet a server that says nothing. Connections without a handshake
// are few, and the oldest makes room for the newest; one that is refused is read
// on and closed when its time is up, so that it looks like any other.
package session
