package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"

	"github.com/vishvananda/netlink"

	"dsvpn/netcfg/netlab"
)

// wireguardModule is what is built, at run time: it is no part of this module.
const wireguardModule = "golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446"

const (
	// wireguardMTU is what an Ethernet frame holds, less 60 bytes: IPv4, UDP,
	// and 32 of its own. wg-quick takes 1420, in case that it runs over IPv6;
	// then datagrams of 1400 bytes would be sent in two.
	wireguardMTU  = 1440
	wireguardPort = 51820
	// wireguardDir is where wireguard-go listens for its configuration.
	wireguardDir = "/var/run/wireguard"
)

var wireguardServer, wireguardClient = netip.MustParsePrefix("10.99.0.1/30"), netip.MustParsePrefix("10.99.0.2/30")

// wireguard is wireguard-go, which runs in user space as this program does.
type wireguard struct {
	exe            string
	server, client *ecdh.PrivateKey
	madeDir        bool // wireguardDir is to be removed
}

func (w *wireguard) name() string       { return "wireguard-go" }
func (w *wireguard) serverAddr() string { return wireguardServer.Addr().String() }

func (w *wireguard) prepare(ctx context.Context, dir string) (err error) {
	_, err = os.Stat(wireguardDir)
	w.madeDir = errors.Is(err, os.ErrNotExist)
	install := exec.CommandContext(ctx, "go", "install", "-trimpath", wireguardModule)
	install.Dir = dir // outside of any module
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w: %s", wireguardModule, err, out)
	}
	w.exe = filepath.Join(dir, "wireguard")
	if w.server, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return err
	}
	w.client, err = ecdh.X25519().GenerateKey(rand.Reader)
	return err
}

func (w *wireguard) startServer(ctx context.Context, n *network) (*process, error) {
	p, _, err := w.start(ctx, n, n.server, wireguardServer, fmt.Sprintf(
		"private_key=%x\nlisten_port=%d\npublic_key=%x\nallowed_ip=%s/32\n",
		w.server.Bytes(), wireguardPort, w.client.PublicKey().Bytes(), wireguardClient.Addr()))
	if err != nil {
		return p, err
	}
	return p, n.masquerade(wireguardClient)
}

func (w *wireguard) startClient(ctx context.Context, n *network) (*process, error) {
	p, iface, err := w.start(ctx, n, n.client, wireguardClient, fmt.Sprintf(
		"private_key=%x\npublic_key=%x\nendpoint=%s:%d\nallowed_ip=%s\n",
		w.client.Bytes(), w.server.PublicKey().Bytes(), serverIP, wireguardPort, anywhere))
	if err != nil {
		return p, err
	}
	return p, n.intoTunnel(iface)
}

// wireguardInterfaces counts them. Their sockets have the same names, in a
// folder that all namespaces share.
var wireguardInterfaces atomic.Int32

// start starts one end, configures it, and brings its interface up.
func (w *wireguard) start(ctx context.Context, n *network, h *netlab.Host, addr netip.Prefix, config string) (*process, string, error) {
	iface := fmt.Sprintf("wg%d-%d", os.Getpid(), wireguardInterfaces.Add(1))
	socket := filepath.Join(wireguardDir, iface+".sock")
	n.cleanup = append(n.cleanup, func() {
		os.Remove(socket) // where the process was killed
		if w.madeDir {
			os.Remove(wireguardDir) // unless it is in use by now
		}
	})
	p, err := start(h, w.exe, "--foreground", iface)
	if err != nil {
		return nil, "", err
	}
	err = p.until(ctx, "listens on "+socket, func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err != nil {
		return p, "", err
	}
	return p, iface, errors.Join(configureWireguard(socket, config), h.AddAddr(iface, addr), h.Do(func() error {
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetMTU(link, wireguardMTU), netlink.LinkSetUp(link))
	}))
}

// configureWireguard speaks the protocol of wireguard.com/xplatform.
func configureWireguard(socket, config string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "set=1\n"+config+"\n"); err != nil {
		return err
	}
	answer := make([]byte, 64)
	size, err := conn.Read(answer)
	if err != nil {
		return err
	}
	if got := string(answer[:size]); got != "errno=0\n\n" {
		return fmt.Errorf("wireguard-go does not take its configuration: %q", got)
	}
	return nil
}
