//go:build linux

package nft

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// term is one piece of a rule, in both of the forms that are needed: as a
// person writes it and as the kernel takes it. Having the two side by side is
// what keeps the printed plan true.
type term struct {
	text  string
	exprs []expr.Any
}

// All terms compute in the first register.
const reg = 1

func compare(op expr.CmpOp, data []byte) expr.Any {
	return &expr.Cmp{Op: op, Register: reg, Data: data}
}

func sign(op expr.CmpOp) string {
	if op == expr.CmpOpNeq {
		return "!= "
	}
	return ""
}

// ifname is an interface name as the kernel compares it: IFNAMSIZ bytes.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}

func iifname(op expr.CmpOp, name string) term {
	return term{
		fmt.Sprintf("iifname %s%q", sign(op), name),
		[]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg}, compare(op, ifname(name))},
	}
}

func oifname(op expr.CmpOp, name string) term {
	return term{
		fmt.Sprintf("oifname %s%q", sign(op), name),
		[]expr.Any{&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: reg}, compare(op, ifname(name))},
	}
}

// nfproto matches the family of a packet. Before an address match it is not
// written, since nft(8) puts it in by itself.
func nfproto(a netip.Addr) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg}, compare(expr.CmpOpEq, []byte{family})}
}

// text is a rule as nft(8) writes it.
func text(rule []term) string {
	var words []string
	for _, t := range rule {
		words = append(words, t.text)
	}
	return strings.Join(words, " ")
}

func isIPv4() term {
	return term{"meta nfproto ipv4", nfproto(netip.IPv4Unspecified())}
}

func isIPv6() term {
	return term{"meta nfproto ipv6", nfproto(netip.IPv6Unspecified())}
}

// Offsets of the addresses in the headers of RFC 791 and RFC 8200, in bytes.
const (
	saddr4, daddr4 = 12, 16
	saddr6, daddr6 = 8, 24
)

func saddr(op expr.CmpOp, p netip.Prefix) term { return address("saddr", saddr4, saddr6, op, p) }

func daddr(op expr.CmpOp, p netip.Prefix) term { return address("daddr", daddr4, daddr6, op, p) }

func address(name string, offset4, offset6 uint32, op expr.CmpOp, p netip.Prefix) term {
	family, offset, size := "ip", offset4, p.Addr().BitLen()/8
	if p.Addr().Is6() {
		family, offset = "ip6", offset6
	}
	text := p.Masked().String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	// A prefix that ends on a byte is matched by loading only its bytes, as
	// nft(8) does; ours are hosts, /96 and fe80::/10.
	exprs := nfproto(p.Addr())
	if p.Bits()%8 == 0 {
		n := p.Bits() / 8
		exprs = append(exprs, load(offset, n), compare(op, p.Addr().AsSlice()[:n]))
	} else {
		mask := make([]byte, size)
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		exprs = append(exprs, load(offset, size),
			&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
			compare(op, p.Masked().Addr().AsSlice()))
	}
	return term{fmt.Sprintf("%s %s %s%s", family, name, sign(op), text), exprs}
}

func load(offset uint32, n int) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(n)}
}

// notFromThisHost matches packets whose source is no address of the host.
func notFromThisHost() term {
	return term{"fib saddr type != local", []expr.Any{
		&expr.Fib{Register: reg, FlagSADDR: true, ResultADDRTYPE: true},
		compare(expr.CmpOpNeq, binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}}
}

// isNew matches packets that open a connection.
func isNew() term { return ctState("new", expr.CtStateBitNEW) }

// isInvalid matches packets that fit no connection that is known.
func isInvalid() term { return ctState("invalid", expr.CtStateBitINVALID) }

// unsolicited matches packets that belong to no connection, nor are an error
// about one.
func unsolicited() term {
	return ctState("invalid,new,untracked", expr.CtStateBitINVALID|expr.CtStateBitNEW|expr.CtStateBitUNTRACKED)
}

func ctState(names string, bits uint32) term {
	return term{"ct state " + names, []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: reg},
		&expr.Bitwise{SourceRegister: reg, DestRegister: reg, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		compare(expr.CmpOpNeq, make([]byte, 4)),
	}}
}

// packetMark and connMark match the mark of a packet and of its connection.
func packetMark(mark uint32) term {
	return term{fmt.Sprintf("meta mark %#08x", mark), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(mark)),
	}}
}

func connMark(mark uint32) term {
	return term{fmt.Sprintf("ct mark %#08x", mark), []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(mark)),
	}}
}

// setConnMark gives the connection of a packet a mark, and setPacketMark gives
// the packet the mark of its connection.
func setConnMark(mark uint32) term {
	return term{fmt.Sprintf("ct mark set %#08x", mark), []expr.Any{
		&expr.Immediate{Register: reg, Data: binaryutil.NativeEndian.PutUint32(mark)},
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg, SourceRegister: true},
	}}
}

func setPacketMark() term {
	return term{"meta mark set ct mark", []expr.Any{
		&expr.Ct{Key: expr.CtKeyMARK, Register: reg},
		&expr.Meta{Key: expr.MetaKeyMARK, Register: reg, SourceRegister: true},
	}}
}

func counter() term { return term{"counter", []expr.Any{&expr.Counter{}}} }

func drop() term { return term{"drop", []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}} }

func accept() term { return term{"accept", []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}} }

func masquerade() term { return term{"masquerade", []expr.Any{&expr.Masq{}}} }

func reject() term {
	return term{"reject with icmpx admin-prohibited", []expr.Any{
		&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED},
	}}
}
