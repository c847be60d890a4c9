package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"dsvpn/netcfg/netlab"
)

// tcp is iperf3 between the client and the internet host, and what processor
// time both ends of the tunnel need for it.
func tcp(name, label string, flags ...string) measurement {
	figures := []figure{
		{label, "Mb/s", false},
		{label + ": CPU of both ends", "s/GB", true},
	}
	return measurement{name, figures, func(ctx context.Context, s *site, seconds int) ([]float64, error) {
		before, err := s.cpu()
		if err != nil {
			return nil, err
		}
		got, err := s.iperf3(ctx, s.internet, internetIP, seconds, flags...)
		if err != nil {
			return nil, err
		}
		after, err := s.cpu()
		return []float64{got.Rate / 1e6, (after - before) / (got.Bytes / 1e9)}, err
	}}
}

// tcpToTunnel ends at the server's tunnel address: without masquerading and
// forwarding, and with the MTU of the tunnel.
func tcpToTunnel() measurement {
	figures := []figure{{"TCP up, to the tunnel address", "Mb/s", false}}
	return measurement{"tcp-tunnel", figures, func(ctx context.Context, s *site, seconds int) ([]float64, error) {
		got, err := s.iperf3(ctx, s.server, s.serverAddr(), seconds)
		return []float64{got.Rate / 1e6}, err
	}}
}

// iperf3 runs an iperf3 server on a host for one client, and that client.
func (n *network) iperf3(ctx context.Context, to *netlab.Host, addr string, seconds int, flags ...string) (transfer, error) {
	// What hangs must not hold up everything else.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+startLimit)
	defer cancel()
	server, err := start(to, "iperf3", "--server", "--one-off", "--forceflush")
	if err != nil {
		return transfer{}, err
	}
	defer func() {
		server.cmd.Process.Kill()
		<-server.done
	}()
	if err := server.await(ctx, "Server listening"); err != nil {
		return transfer{}, err
	}
	args := append([]string{"--client", addr, "--time", strconv.Itoa(seconds), "--json"}, flags...)
	out, err := n.client.Command(ctx, "iperf3", args...).Output()
	if ctx.Err() != nil {
		return transfer{}, fmt.Errorf("iperf3 to %s: %w", addr, ctx.Err())
	}
	// Of a failed run, the reason is in the output.
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		return transfer{}, err
	}
	return parseIperf3(out)
}
