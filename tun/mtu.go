package tun

import "fmt"

// Bounds of the MTU of an interface, in bytes: those of IPv4, which the Linux
// kernel enforces. IPv6 needs at least 1280. Some systems have narrower ones.
const (
	MinMTU = 68
	MaxMTU = 65535
)

// mtuBounds returns the least and the highest MTU that a system's driver can
// carry, in bytes.
func mtuBounds(goos string) (low, high int) {
	switch goos {
	case "darwin", "ios":
		return 72, MaxMTU // IF_MINMTU, IF_MAXMTU in xnu's bsd/net/if_var.h
	case "dragonfly", "freebsd":
		// IF_MINMTU in <net/if_var.h>. The write of if_tun.c takes TUNMRU,
		// 16384 bytes (more in later releases of FreeBSD), with the header.
		return 72, 16384 - headerLen
	case "netbsd":
		return 576, 1500 // SIOCSIFMTU in if_tun.c: TUNMTU
	case "openbsd":
		return MinMTU, 16384 // SIOCSIFMTU in if_tun.c: ETHERMIN is less, TUNMRU
	}
	return MinMTU, MaxMTU
}

func checkMTU(goos string, mtu int) error {
	low, high := mtuBounds(goos)
	if mtu < low || mtu > high {
		return fmt.Errorf("mtu %d is out of range: %d to %d bytes on %s", mtu, low, high, goos)
	}
	return nil
}
