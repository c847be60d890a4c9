package tun

// The last close destroys what opening has made, and keeps what ifconfig has
// made (tun(4)).
const afterClose = vanishes

const missingHint = "make its file (cd /dev && sh MAKEDEV tunN)"

// prepare has nothing to do: packets of this driver always have a header
// (tun(4)).
func prepare(int, bool) error { return nil }
