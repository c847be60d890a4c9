//go:build linux

package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What google/nftables has no function for.

// nfgenmsg is the header of netfilter's messages: family, version, and the
// number of the subsystem, big-endian, where that is not in the type.
func nfgenmsg(family nftables.TableFamily, subsystem byte) []byte {
	return []byte{byte(family), unix.NFNETLINK_V0, 0, subsystem}
}

func boundary(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
	}
}

func deletion(t *nftables.Table, message netlink.HeaderType, attrs ...netlink.Attribute) netlink.Message {
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		panic(err) // names of the kernel's own do not fit
	}
	return netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | message,
			Flags: netlink.Request | netlink.Acknowledge | unix.NLM_F_NONREC,
		},
		Data: append(nfgenmsg(t.Family, 0), data...),
	}
}

// generation is the number of the ruleset: with each transaction it is another
// one.
func generation(conn *netlink.Conn) (uint32, error) {
	answer, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   nfgenmsg(unix.AF_UNSPEC, 0),
	})
	if err != nil {
		return 0, err
	}
	if len(answer) != 1 || len(answer[0].Data) < 4 {
		return 0, fmt.Errorf("generation of the ruleset: %d messages, want one", len(answer))
	}
	ad, err := netlink.NewAttributeDecoder(answer[0].Data[4:])
	if err != nil {
		return 0, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		if ad.Type() == unix.NFTA_GEN_ID {
			return ad.Uint32(), ad.Err()
		}
	}
	return 0, errors.Join(errors.New("generation of the ruleset: not in the answer"), ad.Err())
}
