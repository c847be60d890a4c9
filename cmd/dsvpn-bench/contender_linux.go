package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// contender is one way from the client to the internet host.
type contender interface {
	name() string
	// prepare builds or looks for what the contender needs, once. It may
	// write to a folder of its own. Its error is the reason to go without the
	// contender.
	prepare(ctx context.Context, dir string) error
	// startServer returns when a client can connect, and startClient when no
	// more is to be done but to wait for the first answer. The process is nil
	// where none has been started; with an error it may run all the same.
	startServer(ctx context.Context, n *network) (*process, error)
	startClient(ctx context.Context, n *network) (*process, error)
	// serverAddr is the server's address inside the tunnel.
	serverAddr() string
}

// site is a contender that is up on a network of its own.
type site struct {
	*network
	contender
	ends    []*process    // client and server, in the order in which they are stopped
	started time.Duration // from the start of the client to the first answer
}

// close stops what still runs, in the regular way: contenders may keep files
// until then. It takes the network away whatever comes of that.
func (s *site) close() error {
	var errs []error
	for _, p := range s.ends {
		if p.runs() {
			_, err := p.stop()
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, s.network.close())...)
}

func newSite(ctx context.Context, c contender) (*site, error) {
	n, err := newNetwork()
	if err != nil {
		return nil, err
	}
	s := &site{network: n, contender: c}
	if err := s.bringUp(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *site) bringUp(ctx context.Context) error {
	server, err := s.startServer(ctx, s.network)
	s.add(server)
	if err != nil {
		return err
	}
	begin := time.Now()
	client, err := s.startClient(ctx, s.network)
	s.add(client)
	if err != nil {
		return err
	}
	err = s.reach(ctx)
	s.started = time.Since(begin)
	if err != nil {
		for _, p := range s.ends {
			err = fmt.Errorf("%w\n%s said:\n%s", err, p.name, p.log.String())
		}
	}
	return err
}

// add puts a process, if it is one, before those that were started earlier.
func (s *site) add(p *process) {
	if p != nil {
		s.ends = append([]*process{p}, s.ends...)
	}
}

// cpu returns the processor time of both ends so far, in seconds.
func (s *site) cpu() (float64, error) {
	if len(s.ends) == 0 {
		return math.NaN(), nil
	}
	sum := 0.0
	for _, p := range s.ends {
		one, err := p.cpu()
		if err != nil {
			return 0, err
		}
		sum += one
	}
	return sum, nil
}

// direct is the way without a tunnel.
type direct struct{}

func (direct) name() string                          { return noTunnel }
func (direct) prepare(context.Context, string) error { return nil }
func (direct) serverAddr() string                    { return serverIP }
func (direct) startServer(_ context.Context, n *network) (*process, error) {
	return nil, n.masquerade(netip.MustParsePrefix(clientNet))
}
func (direct) startClient(context.Context, *network) (*process, error) { return nil, nil }
