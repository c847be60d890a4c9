package firewall

import (
	"fmt"
	"strings"
)

// markPrefix is what our marks begin with; the interface follows.
const markPrefix = "dsvpn-"

// Mark is what tells that something belongs to the policy for an interface:
// the name of a table of ours, the comment of a rule that is a guest. An
// interface may have a name that nft(8) or iptables(8) cannot read; other bytes
// than letters, digits and a few more are then written as "/" and two
// hexadecimal digits, which is unique since no interface has a "/" in its name.
func Mark(iface string) string {
	var b strings.Builder
	b.WriteString(markPrefix)
	for _, c := range []byte(iface) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "/%02x", c)
		}
	}
	return b.String()
}

// Marked is the interface that a mark is for, if it is one of ours.
func Marked(mark string) (iface string, ok bool) {
	rest, ok := strings.CutPrefix(mark, markPrefix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for len(rest) > 0 {
		var c byte
		if n, _ := fmt.Sscanf(rest, "/%02x", &c); n == 1 && len(rest) >= 3 {
			b.WriteByte(c)
			rest = rest[3:]
			continue
		}
		b.WriteByte(rest[0])
		rest = rest[1:]
	}
	return b.String(), b.Len() > 0
}
