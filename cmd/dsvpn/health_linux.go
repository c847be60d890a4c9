package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// localSocket and the name of an interface make the name of an abstract
// socket: one without a file, in a name space that belongs to the network
// namespace, as the interface does. It is gone when the process is.
const localSocket = "@dsvpn-health/"

func listenLocal(ctx context.Context, tun string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, "unix", localSocket+tun)
}

func dialLocal(ctx context.Context, tun string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", localSocket+tun)
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = errors.New("no such tunnel is up in this network namespace")
	}
	return conn, err
}

// localNames returns the interfaces that somebody answers for.
func localNames() (names []string, err error) {
	sockets, err := os.ReadFile("/proc/self/net/unix")
	if err != nil {
		return nil, fmt.Errorf("look for a tunnel: %w; name its interface", err)
	}
	const listening = "00010000" // the flag __SO_ACCEPTCON
	for line := range strings.Lines(string(sockets)) {
		// Num RefCount Protocol Flags Type State Inode Path
		fields := strings.Fields(line)
		if len(fields) < 8 || fields[3] != listening {
			continue
		}
		if tun, ours := strings.CutPrefix(fields[7], localSocket); ours {
			names = append(names, tun)
		}
	}
	return names, nil
}
