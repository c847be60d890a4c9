package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"dsvpn/netcfg/netlab"
	"dsvpn/session"
)

// command is a contender that sets up both hosts itself, as this program
// does, and whose ends are a command line each.
type command struct {
	label          string
	server, client string // with placeholders
	ready          string // what the server says when it is; empty: when its port is bound
	build          func(ctx context.Context, dir string) error

	key, keyID string // file with the key, and its name among keys
}

// hellosPrefix is that of the file in which this program's server remembers
// handshakes across starts. With the key of a bench, nobody needs it again.
const hellosPrefix = "/run/dsvpn/hellos-"

// Addresses of both ends inside the tunnel: the defaults of DSVPN.
const (
	tunnelServerIP, tunnelClientIP = "192.168.192.254", "192.168.192.1"
	tunnelPort                     = "443"
)

// newProgram is this program: what is at path, or if that is empty, what the
// module in the current folder has.
func newProgram(path string) *command {
	c := &command{label: subject, ready: "waiting for a client"}
	use := func(path string) {
		c.server = quote(path) + " server {key} {server} {port}"
		c.client = quote(path) + " client {key} {server} {port}"
	}
	c.build = func(ctx context.Context, dir string) error {
		if path != "" {
			use(path)
			_, err := os.Stat(path)
			return err
		}
		exe := filepath.Join(dir, "dsvpn")
		use(exe)
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", exe, "dsvpn/cmd/dsvpn")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w (run it in the module's folder, or give --dsvpn PATH): %s", err, out)
		}
		return nil
	}
	return c
}

// newPeer is any other program.
func newPeer(server, client string) *command {
	return &command{
		label: "peer", server: server, client: client,
		build: func(context.Context, string) error { return nil },
	}
}

func (c *command) name() string       { return c.label }
func (c *command) serverAddr() string { return tunnelServerIP }

func (c *command) prepare(ctx context.Context, dir string) error {
	key, err := session.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	c.key, c.keyID = filepath.Join(dir, "vpn.key"), key.ID()
	if err := os.WriteFile(c.key, key[:], 0o600); err != nil {
		return err
	}
	return c.build(ctx, dir)
}

func (c *command) startServer(ctx context.Context, n *network) (*process, error) {
	n.cleanup = append(n.cleanup, func() { os.Remove(hellosPrefix + c.keyID) })
	p, err := c.start(n.server, c.server, tunnelServerIP, tunnelClientIP)
	if err != nil {
		return nil, err
	}
	if c.ready != "" {
		return p, p.await(ctx, c.ready)
	}
	return p, p.until(ctx, "listens on port "+tunnelPort, func() bool { return bound(n.server, tunnelPort) })
}

func (c *command) startClient(_ context.Context, n *network) (*process, error) {
	return c.start(n.client, c.client, tunnelClientIP, tunnelServerIP)
}

// start runs a command line with the shell, which becomes the program.
func (c *command) start(h *netlab.Host, line, local, remote string) (*process, error) {
	line = strings.NewReplacer(
		"{key}", quote(c.key), "{server}", serverIP, "{port}", tunnelPort,
		"{local}", local, "{remote}", remote,
	).Replace(line)
	p, err := start(h, "/bin/sh", "-c", "exec "+line)
	if p != nil {
		p.name = c.label + " on the " + h.Name()
	}
	return p, err
}

// quote makes one word for the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// bound tells whether a TCP port of a host is listened on, or a UDP port open.
func bound(h *netlab.Host, port string) bool {
	var number uint16
	fmt.Sscan(port, &number)
	found := false
	h.Do(func() error {
		for _, table := range []struct{ file, state string }{{"tcp", "0A"}, {"tcp6", "0A"}, {"udp", "07"}, {"udp6", "07"}} {
			text, _ := os.ReadFile("/proc/thread-self/net/" + table.file) // the kernel may lack IPv6
			for line := range strings.Lines(string(text)) {
				f := strings.Fields(line)
				if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == table.state {
					found = true
				}
			}
		}
		return nil
	})
	return found
}
