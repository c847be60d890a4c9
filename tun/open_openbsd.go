package tun

// outlivesDescriptor: the kernel destroys what was made by opening it with the
// last close, and keeps what ifconfig has made (tun(4)).
const outlivesDescriptor = false

const missingHint = "make its file (cd /dev && sh MAKEDEV tunN)"

// prepare has nothing to do: packets of this driver always have a header
// (tun(4)).
func prepare(int, bool) error { return nil }
