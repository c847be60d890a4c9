package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// arguments is the command line.
type arguments struct {
	rounds, seconds        int
	only                   []string
	json                   string
	dsvpn                  string
	peerServer, peerClient string
}

// errUsage is for a command line that cannot be understood.
var errUsage = errors.New("wrong usage")

const usage = `usage: dsvpn-bench [FLAGS]

  --rounds N          how often everything is measured (5)
  --time SECONDS      how long each transfer and ping takes (3)
  --only NAME,...     contenders and measurements to choose
  --json FILE         write the results as JSON, each value included
  --dsvpn PATH        the program to measure; else it is built from this module
  --peer-server CMD   another program to put beside it: its server
  --peer-client CMD   and its client

Contenders: direct, dsvpn, wireguard-go, openvpn, peer.
Measurements: start, tcp-up, tcp-down, tcp-8-up, tcp-8-down, tcp-tunnel, udp-64,
udp-512, udp-1400, ping-idle, ping-50m-up, ping-50m-down, ping-1g-up,
ping-1g-down, memory, stop. The first words of a name stand for all that begin
with them: tcp, ping-50m.

A CMD is a line for the shell. It sets up its host as dsvpn does (address,
routes, masquerading), runs in the foreground, and ends with SIGTERM. In it,
  {key}      is a file of 32 random bytes,
  {server}   the server's address outside of the tunnel,
  {port}     the port that the server must listen on, TCP or UDP,
  {local}    the address of this end in the tunnel: the server's is
             192.168.192.254, the client's 192.168.192.1,
  {remote}   that of the other end.
`

// parse reads the command line. What is wrong with it is written to stderr.
func parse(args []string, stderr io.Writer) (arguments, error) {
	var a arguments
	var only string
	f := flag.NewFlagSet("dsvpn-bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() { io.WriteString(stderr, usage) }
	f.IntVar(&a.rounds, "rounds", 5, "")
	f.IntVar(&a.seconds, "time", 3, "")
	f.StringVar(&only, "only", "", "")
	f.StringVar(&a.json, "json", "", "")
	f.StringVar(&a.dsvpn, "dsvpn", "", "")
	f.StringVar(&a.peerServer, "peer-server", "", "")
	f.StringVar(&a.peerClient, "peer-client", "", "")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return a, err
		}
		return a, fmt.Errorf("%w: %w", errUsage, err)
	}
	if only != "" {
		a.only = strings.Split(only, ",")
	}
	var wrong string
	switch {
	case f.NArg() > 0:
		wrong = "unexpected " + f.Arg(0)
	case a.rounds < 1 || a.seconds < 1:
		wrong = "--rounds and --time must be 1 or more"
	case (a.peerServer == "") != (a.peerClient == ""):
		wrong = "--peer-server and --peer-client go together"
	default:
		return a, nil
	}
	fmt.Fprintf(stderr, "%s\n\n%s", wrong, usage)
	return a, fmt.Errorf("%w: %s", errUsage, wrong)
}

// choose splits the words of --only into contenders and measurements, all of
// them where none is chosen.
func choose(only, contenders, measurements []string) (cs, ms []string, err error) {
	for _, word := range only {
		known := false
		for _, c := range contenders {
			if c == word {
				cs, known = append(cs, c), true
			}
		}
		for _, m := range measurements {
			if covers(word, m) {
				ms, known = append(ms, m), true
			}
		}
		if !known {
			return nil, nil, fmt.Errorf("--only %s: there are the contenders %s, and the measurements %s",
				word, strings.Join(contenders, ", "), strings.Join(measurements, ", "))
		}
	}
	if cs == nil {
		cs = contenders
	}
	if ms == nil {
		ms = measurements
	}
	return cs, ms, nil
}

// covers tells whether a word of --only means a measurement: its name, or the
// first words of it, such as tcp or tcp-8 for tcp-8-up.
func covers(word, measurement string) bool {
	return word == measurement || strings.HasPrefix(measurement, word+"-")
}
