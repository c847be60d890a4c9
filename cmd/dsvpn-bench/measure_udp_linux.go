package main

import (
	"context"
	"fmt"
	"strconv"
)

// udp is datagrams of a size, from the client to the internet host, as many as
// the client can send: so the rate is what the way carries when it is
// overloaded, and the loss tells by how much.
func udp(size int) measurement {
	label := fmt.Sprintf("UDP up, %d bytes", size)
	figures := []figure{{label + ": received", "Mb/s", false}, {label + ": lost", "%", true}}
	return measurement{fmt.Sprintf("udp-%d", size), figures, func(ctx context.Context, s *site, seconds int) ([]float64, error) {
		got, err := s.iperf3(ctx, s.internet, internetIP, seconds,
			"--udp", "--bitrate", "0", "--length", strconv.Itoa(size))
		return []float64{got.Rate / 1e6, got.Percent}, err
	}}
}
