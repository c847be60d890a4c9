package main

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"dsvpn/netcfg"
	"dsvpn/session"
)

// end is one end of a session: a server or a client.
type end interface {
	// prepare does what is better done before the host is set up.
	prepare(context.Context, session.Config)
	// attach gives the end, before it runs, what makes ways to other addresses
	// of the server.
	attach(reach func(servers []netip.Addr))
	// run keeps sessions until ctx is done.
	run(context.Context) error
	// networkChanged is told of changes of the host's network.
	networkChanged()
	// prod is what an operator asks for with SIGUSR1.
	prod()
	close()
}

// newEnd makes an end as far as that goes without a tunnel interface. Neither
// changes the host.
func (p *program) newEnd(ctx context.Context, o options) (end, error) {
	if o.Net.Role == netcfg.Client {
		return &clientEnd{o: o, log: p.log}, nil
	}
	l, err := session.Listen(ctx, session.Config{Mark: o.Net.Mark, Logger: p.log}, o.Address, o.Port)
	if err != nil {
		return nil, err
	}
	return &serverEnd{l: l, log: p.log}, nil
}

type serverEnd struct {
	l   net.Listener
	cfg session.Config
	log *slog.Logger
}

// prepare makes the folder of the file that outlives the server, which later
// it may have no right to. Without it the server says so, and goes on. Files of
// other keys are removed when nothing in them can be of use any more.
func (s *serverEnd) prepare(_ context.Context, cfg session.Config) {
	s.cfg = cfg
	dir := filepath.Dir(cfg.Replays)
	os.MkdirAll(dir, 0o755)
	others, _ := filepath.Glob(filepath.Join(dir, replaysPrefix+"*"))
	for _, path := range others {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > session.ReplayWindow {
			os.Remove(path)
		}
	}
}

// replaysFile is where a server keeps the hellos that it has accepted.
func replaysFile(dir string, key session.Key) string {
	return filepath.Join(dir, replaysPrefix+key.ID())
}

const replaysPrefix = "hellos-"

func (s *serverEnd) run(ctx context.Context) error {
	s.log.Info("waiting for a client", "address", s.l.Addr())
	ready := make(chan struct{})
	close(ready) // clients may come
	defer notify(ctx, s.log, ready, s.cfg.Status.Report)()
	return session.Serve(ctx, s.cfg, s.l)
}

func (s *serverEnd) attach(func([]netip.Addr)) {}

func (s *serverEnd) networkChanged() {} // clients come from wherever they come

func (s *serverEnd) prod() { s.log.Info("status", "report", s.cfg.Status.Report().String()) }

func (s *serverEnd) close() { s.l.Close() }

type clientEnd struct {
	o      options
	client *session.Client
	status *session.Status
	log    *slog.Logger
	reach  func(servers []netip.Addr) // nil as long as nothing is in the way
}

// firstResolve is how long the start waits for the name of the server. Without
// an answer it goes on, and tries again when it connects.
const firstResolve = 2 * time.Second

// prepare resolves the name of the server while the host's own resolver still
// reaches its name servers. One that runs on the host, such as
// systemd-resolved, does not mark its packets, so that later they go into the
// tunnel, which cannot come up without them. The client then uses this answer.
func (c *clientEnd) prepare(ctx context.Context, cfg session.Config) {
	c.status = cfg.Status
	cfg.Resolved = func(servers []netip.Addr) {
		if c.reach != nil {
			c.reach(servers)
		}
	}
	c.client = session.NewClient(cfg, c.o.Server, c.o.Port, c.o.ReconnectLimit)
	ctx, cancel := context.WithTimeout(ctx, firstResolve)
	defer cancel()
	if _, err := c.client.Resolve(ctx); err != nil {
		c.log.Warn("the name of the server is not known yet", "err", err)
	}
}

func (c *clientEnd) attach(reach func([]netip.Addr)) { c.reach = reach }

func (c *clientEnd) run(ctx context.Context) error {
	defer notify(ctx, c.log, c.status.Up(), c.status.Report)()
	return c.client.Run(ctx)
}

func (c *clientEnd) networkChanged() { c.client.NetworkChanged() }

func (c *clientEnd) prod() { c.client.Reconnect() }

func (c *clientEnd) close() {}
