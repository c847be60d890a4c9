//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"
)

// Interfaces returns all interfaces, with their addresses.
func Interfaces() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var list []Interface
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		found := Interface{Name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				found.Addrs = append(found.Addrs, p)
			}
		}
		list = append(list, found)
	}
	return list, nil
}

// Table returns the routes of the kernel's table.
func Table() ([]Entry, error) {
	rib, err := fetchRIB()
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	messages, err := route.ParseRIB(route.RIBTypeRoute, rib)
	if err != nil {
		return nil, fmt.Errorf("read the list of routes: %w", err)
	}
	names := map[int]string{}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		names[i.Index] = i.Name
	}
	var entries []Entry
	for _, m := range messages {
		if m, ok := m.(*route.RouteMessage); ok {
			if e, ok := entry(m, names); ok {
				entries = append(entries, e)
			}
		}
	}
	return entries, nil
}

// entry reads a routing message.
func entry(m *route.RouteMessage, names map[int]string) (e Entry, ok bool) {
	at := func(i int) route.Addr {
		if i < len(m.Addrs) {
			return m.Addrs[i]
		}
		return nil
	}
	to, _, ok := address(at(syscall.RTAX_DST), names)
	if !ok || m.Flags&syscall.RTF_UP == 0 {
		return e, false
	}
	_, netmask, _ := address(at(syscall.RTAX_NETMASK), names)
	if e.To, ok = prefix(to, netmask, m.Flags&syscall.RTF_HOST != 0); !ok {
		return e, false
	}
	if m.Flags&syscall.RTF_GATEWAY != 0 {
		e.Via, _, _ = address(at(syscall.RTAX_GATEWAY), names)
	}
	e.Interface = names[m.Index]
	e.Static = m.Flags&syscall.RTF_STATIC != 0
	e.Blackhole = m.Flags&(syscall.RTF_BLACKHOLE|syscall.RTF_REJECT) != 0
	e.Scoped = m.Flags&flagScoped != 0
	return e, true
}

// address reads an IP address, which may be a netmask.
func address(a route.Addr, names map[int]string) (netip.Addr, mask, bool) {
	switch a := a.(type) {
	case *route.Inet4Addr:
		return netip.AddrFrom4(a.IP), a.IP[:], true
	case *route.Inet6Addr:
		ip := netip.AddrFrom16(a.IP)
		if a.ZoneID != 0 {
			ip = ip.WithZone(names[a.ZoneID])
		}
		return ip, a.IP[:], true
	}
	return netip.Addr{}, nil, false
}

// Watch sends a value after interfaces, addresses or routes of the host have
// changed. Changes that come faster than they are taken are one value. The
// channel is closed when ctx is done.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", os.NewSyscallError("socket", err))
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	socket := os.NewFile(uintptr(fd), "routing socket") // the poller waits, so that Close ends a Read
	context.AfterFunc(ctx, func() { socket.Close() })
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		message := make([]byte, os.Getpagesize())
		for {
			// What the message says does not matter, and a full buffer says
			// that messages were lost, which is a change too.
			if _, err := socket.Read(message); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return
			}
			select {
			case changed <- struct{}{}:
			default: // one is waiting already
			}
		}
	}()
	return changed, nil
}
