package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"dsvpn/netcfg/netlab"
)

const (
	openvpnServer, openvpnClient = "10.98.0.1", "10.98.0.2"
	openvpnPort                  = "1194"
	openvpnInterface             = "ovpn0"
)

// openvpn is OpenVPN over TCP, point to point, with AES-256-GCM and keys that
// are agreed on with TLS. All else is left at its defaults.
type openvpn struct{ dir string }

func (o *openvpn) name() string       { return "openvpn" }
func (o *openvpn) serverAddr() string { return openvpnServer }

func (o *openvpn) prepare(_ context.Context, dir string) error {
	if _, err := exec.LookPath("openvpn"); err != nil {
		return fmt.Errorf("%w; on Debian: apt-get install openvpn", err)
	}
	o.dir = dir
	authority, err := newCertificate("authority", nil)
	if err != nil {
		return err
	}
	for _, name := range []string{"server", "client"} {
		cert, err := newCertificate(name, authority)
		if err != nil {
			return err
		}
		if err := cert.write(dir); err != nil {
			return err
		}
	}
	return authority.write(dir)
}

func (o *openvpn) startServer(ctx context.Context, n *network) (*process, error) {
	if err := n.masquerade(netip.MustParsePrefix(openvpnClient + "/32")); err != nil {
		return nil, err
	}
	p, err := o.start(n.server, "server", openvpnServer, openvpnClient,
		"--proto", "tcp4-server", "--local", serverIP, "--port", openvpnPort, "--tls-server", "--dh", "none")
	if err != nil {
		return nil, err
	}
	return p, p.await(ctx, "Listening for incoming TCP connection")
}

func (o *openvpn) startClient(ctx context.Context, n *network) (*process, error) {
	p, err := o.start(n.client, "client", openvpnClient, openvpnServer,
		"--proto", "tcp4-client", "--remote", serverIP, openvpnPort, "--nobind", "--tls-client")
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, "Initialization Sequence Completed"); err != nil {
		return p, err
	}
	return p, n.intoTunnel(openvpnInterface)
}

func (o *openvpn) start(h *netlab.Host, end, local, remote string, args ...string) (*process, error) {
	file := func(name string) string { return filepath.Join(o.dir, name) }
	return start(h, "openvpn", append([]string{
		"--dev", openvpnInterface, "--dev-type", "tun", "--ifconfig", local, remote,
		"--data-ciphers", "AES-256-GCM",
		"--ca", file("authority.crt"), "--cert", file(end + ".crt"), "--key", file(end + ".key"),
	}, args...)...)
}

// certificate is one with its key.
type certificate struct {
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCertificate makes a certificate, signed by an authority, or without one,
// an authority itself. It is good for a day.
func newCertificate(name string, authority *certificate) (*certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := template, key
	if authority != nil {
		parent, signer = authority.cert, authority.key
	} else {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageCertSign, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &certificate{name, cert, key}, err
}

// write makes the files NAME.crt and NAME.key.
func (c *certificate) write(dir string) error {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return err
	}
	file := func(suffix, kind string, der []byte) error {
		return os.WriteFile(filepath.Join(dir, c.name+suffix), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	return errors.Join(file(".crt", "CERTIFICATE", c.cert.Raw), file(".key", "PRIVATE KEY", der))
}
