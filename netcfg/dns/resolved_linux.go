package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	resolveName    = "org.freedesktop.resolve1"
	resolvePath    = "/org/freedesktop/resolve1"
	resolveManager = resolveName + ".Manager."
	noSuchLink     = resolveName + ".NoSuchLink"
	unknownMethod  = "org.freedesktop.DBus.Error.UnknownMethod"

	// busTimeout is far longer than any answer takes.
	busTimeout = 5 * time.Second
)

// resolved is systemd-resolved on the system bus.
type resolved struct {
	conn *dbus.Conn
	ctx  context.Context
}

// withResolved connects to systemd-resolved for the time of a function.
func withResolved(do func(resolved) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), busTimeout)
	defer cancel()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the system bus: %w", err)
	}
	defer conn.Close()
	return do(resolved{conn, ctx})
}

// call calls a method of the manager.
func (r resolved) call(method string, args ...any) error {
	err := r.conn.Object(resolveName, resolvePath).CallWithContext(r.ctx, resolveManager+method, 0, args...).Err
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// probeResolved finds out whether systemd-resolved runs, and knows the
// interfaces that we know: it identifies them by their numbers, which are
// different ones in another network namespace.
func probeResolved() error {
	return withResolved(func(r resolved) error {
		var pid uint32
		err := r.conn.BusObject().CallWithContext(r.ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, resolveName).Store(&pid)
		if err != nil {
			return fmt.Errorf("it does not run: %w", err)
		}
		theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err != nil {
			return fmt.Errorf("its network namespace: %w", err)
		}
		ours, err := os.Readlink("/proc/thread-self/ns/net")
		if err == nil && ours != theirs {
			err = errors.New("it is in another network namespace")
		}
		return err
	})
}

// The types of the arguments: (iay) and (sb).
type (
	busAddress struct {
		Family int32
		Addr   []byte
	}
	busDomain struct {
		Name    string
		Routing bool
	}
)

func busAddresses(addrs []netip.Addr) (all []busAddress) {
	for _, a := range addrs {
		family := int32(unix.AF_INET)
		if a.Is6() {
			family = unix.AF_INET6
		}
		all = append(all, busAddress{family, a.AsSlice()})
	}
	return all
}

// setResolved has all names resolved by these name servers. The routing domain
// "." is the shortest of all: a longer one that another interface has, such as
// that of a company, goes before it.
func (s Setting) setResolved() (undo func() error, err error) {
	iface, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return nil, err
	}
	index := int32(iface.Index)
	revert := func() error {
		err := withResolved(func(r resolved) error { return r.call("RevertLink", index) })
		if isBusError(err, noSuchLink) { // it went with its settings
			return nil
		}
		return err
	}
	return revert, withResolved(func(r resolved) error {
		if err := r.call("SetLinkDNS", index, busAddresses(s.Servers)); err != nil {
			return err
		}
		if err := r.call("SetLinkDomains", index, []busDomain{{".", true}}); err != nil {
			return err
		}
		err := r.call("SetLinkDefaultRoute", index, true)
		if isBusError(err, unknownMethod) { // before systemd 240; the domain alone will do
			return nil
		}
		return err
	})
}

func isBusError(err error, name string) bool {
	e, ok := errors.AsType[dbus.Error](err)
	return ok && e.Name == name
}
