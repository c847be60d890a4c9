// Command dsvpn-bench measures this program and its peers beside each other:
// rates, waiting times, processor time, memory, start and stop. It builds
// client, server and internet hosts for each of them in network namespaces, so
// nothing of the machine is touched. It needs Linux, root, iperf3 and ping.
//
// All contenders are up at the same time, and each measurement goes from one
// to the next before the next measurement begins: what else the machine does
// meets all of them alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal does not wait for the tidying up
	os.Setenv("LC_ALL", "C")     // for the output that is read
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage): // the flag package has said it
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "dsvpn-bench:", err)
		os.Exit(1)
	}
}

// run measures, tells on stderr how far it is, and prints the table on stdout.
// What was measured before an error is printed as well.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	a, err := parse(args, stderr)
	if err != nil {
		return err
	}
	r, err := bench(ctx, a, stderr)
	if r == nil || len(r.Figures) == 0 {
		return err
	}
	if _, printErr := io.WriteString(stdout, r.table()); printErr != nil {
		err = errors.Join(err, printErr)
	}
	if a.json != "" {
		err = errors.Join(err, r.writeJSON(a.json))
	}
	return err
}
