package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a cable: an interface that will be made on a host.
type End struct {
	Host      *Host
	Interface string
	Addrs     []netip.Prefix // an address with the length of its network each
}

// CableOption changes how a cable is made.
type CableOption func(*netlink.Veth)

// MTU sets the MTU of both ends, in bytes, instead of 1500.
func MTU(bytes int) CableOption {
	return func(v *netlink.Veth) {
		v.MTU, v.PeerMTU = bytes, uint32(bytes)
	}
}

// Cable joins two hosts with a pair of virtual Ethernet interfaces, gives
// both their addresses and brings them up. When it returns, packets pass.
func (l *Lab) Cable(a, b End, opts ...CableOption) error {
	if err := makePair(a, b, opts); err != nil {
		return fmt.Errorf("cable from %s on %s to %s on %s: %w", a.Interface, a.Host.name, b.Interface, b.Host.name, err)
	}
	for _, e := range []End{a, b} {
		if err := e.bringUp(); err != nil {
			return err
		}
	}
	for _, e := range []End{a, b} {
		if err := e.wait(); err != nil {
			return err
		}
	}
	return nil
}

// makePair creates both ends where they belong, so that no device appears in
// the namespace of the machine.
func makePair(a, b End, opts []CableOption) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.Interface
	pair := netlink.NewVeth(attrs)
	pair.PeerName = b.Interface
	pair.PeerNamespace = netlink.NsFd(b.Host.ns)
	for _, o := range opts {
		o(pair)
	}
	return a.Host.Do(func() error { return netlink.LinkAdd(pair) })
}

func (e End) bringUp() error {
	for _, p := range e.Addrs {
		if err := e.Host.AddAddr(e.Interface, p); err != nil {
			return err
		}
	}
	return e.Host.SetUp(e.Interface)
}

// wait returns when the interface has a carrier and its addresses are usable,
// the link-local one included, which the kernel adds by itself a moment
// later.
func (e End) wait() error {
	var state error
	poll(5*time.Second, func() bool {
		state = e.Host.Do(func() error { return usable(e.Interface) })
		return state == nil
	})
	if state != nil {
		return fmt.Errorf("host %s: %s does not come up: %w", e.Host.name, e.Interface, state)
	}
	return nil
}

// usable tells what an interface of the current namespace still lacks.
func usable(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if link.Attrs().OperState != netlink.OperUp {
		return errors.New("no carrier")
	}
	if !hasIPv6(name) {
		return nil
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	local := link.Attrs().MTU < 1280 // below that, an interface has no IPv6
	for _, a := range addrs {
		if a.Flags&unix.IFA_F_TENTATIVE != 0 {
			return fmt.Errorf("address %s is tentative", a.IP)
		}
		local = local || a.IP.IsLinkLocalUnicast()
	}
	if !local {
		return errors.New("no link-local address")
	}
	return nil
}
