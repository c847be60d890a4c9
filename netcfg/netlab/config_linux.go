package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetUp brings an interface up.
func (h *Host) SetUp(name string) error {
	return h.onLink("set up", name, netlink.LinkSetUp)
}

// SetDown takes an interface down. Its IPv6 addresses and its routes go with
// that.
func (h *Host) SetDown(name string) error {
	return h.onLink("set down", name, netlink.LinkSetDown)
}

// DelLink removes an interface; the other end of a cable goes with it.
func (h *Host) DelLink(name string) error {
	return h.onLink("delete", name, netlink.LinkDel)
}

// AddAddr gives an interface an address with the length of its network.
func (h *Host) AddAddr(name string, p netip.Prefix) error {
	return h.onLink("add address "+p.String()+" to", name, func(l netlink.Link) error {
		a := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		return netlink.AddrAdd(l, a)
	})
}

// DelAddr takes an address from an interface.
func (h *Host) DelAddr(name string, p netip.Prefix) error {
	return h.onLink("delete address "+p.String()+" from", name, func(l netlink.Link) error {
		return netlink.AddrDel(l, &netlink.Addr{IPNet: ipNet(p)})
	})
}

// onLink applies a change to an interface of the host.
func (h *Host) onLink(op, name string, change func(netlink.Link) error) error {
	err := h.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return change(link)
	})
	if err != nil {
		return fmt.Errorf("host %s: %s %s: %w", h.name, op, name, err)
	}
	return nil
}

// AddRoute adds a route to the main table. The gateway must be in a network
// that the host has an address in.
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	return h.onRoute("add", dst, via, netlink.RouteAdd)
}

// DelRoute removes a route that [Host.AddRoute] has added.
func (h *Host) DelRoute(dst netip.Prefix, via netip.Addr) error {
	return h.onRoute("delete", dst, via, netlink.RouteDel)
}

func (h *Host) onRoute(op string, dst netip.Prefix, via netip.Addr, change func(*netlink.Route) error) error {
	err := h.Do(func() error {
		return change(&netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()})
	})
	if err != nil {
		return fmt.Errorf("host %s: %s route to %s via %s: %w", h.name, op, dst, via, err)
	}
	return nil
}

// SetSysctl writes a kernel parameter of the host, such as
// net.ipv4.ip_forward. With slashes in place of the dots, names of interfaces
// may have dots. A parameter that the kernel lacks is [fs.ErrNotExist].
func (h *Host) SetSysctl(name, value string) error {
	// /proc/sys/net shows the namespace of the thread that looks, unlike
	// /proc/net, which shows that of the main thread.
	err := h.Do(func() error { return os.WriteFile(sysctlPath(name), []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("host %s: set %s to %s: %w", h.name, name, value, err)
	}
	return nil
}

// Sysctl reads a kernel parameter of the host.
func (h *Host) Sysctl(name string) (string, error) {
	var value string
	err := h.Do(func() (err error) {
		value, err = readSysctl(name)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("host %s: %w", h.name, err)
	}
	return value, nil
}

func readSysctl(name string) (string, error) {
	b, err := os.ReadFile(sysctlPath(name))
	return strings.TrimSpace(string(b)), err
}

const sysctlDir = "/proc/sys/"

func sysctlPath(name string) string {
	if !strings.Contains(name, "/") {
		name = strings.ReplaceAll(name, ".", "/")
	}
	return sysctlDir + name
}

// hasIPv6 tells whether an interface of the current namespace has IPv6.
func hasIPv6(name string) bool {
	disabled, err := readSysctl("net/ipv6/conf/" + name + "/disable_ipv6")
	return err == nil && disabled == "0"
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
