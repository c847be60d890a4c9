// Dsvpn is DSVPN: a VPN of one server and one client over one TCP connection.
//
// The program is thin. [parseOptions] turns arguments and environment into a
// plain value, and the packages session, netcfg and tun do the rest; nothing
// below this package reads a flag or a variable. Standard output carries what
// was asked for and nothing else; all the rest goes to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"dsvpn/netcfg"
)

// Exit codes. That of wrong usage is the one of the C program.
const (
	exitOK    = 0
	exitError = 1   // something on this host or on the way to the peer
	exitUsage = 254 // something on the command line or in the environment
)

func main() {
	env := parseEnviron(os.Environ())
	os.Unsetenv(keyVariable) // no child has to know
	p := &program{
		stdin:  os.Stdin,
		stdout: os.Stdout,
		stderr: os.Stderr,
		env:    env,
	}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// A program is everything that a command may touch besides its arguments.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            environment
	log            *slog.Logger // nil for commands that only talk to a person
}

// errHelp asks for the usage of a command instead of the command.
var errHelp = errors.New("help requested")

// A usageError is a mistake in how the program was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// run performs one command line and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.stderr, usage)
		return exitUsage
	}
	cmd, err := findCommand(args[0])
	if err == nil {
		err = cmd.run(p, ctx, args[1:])
	}
	return p.report(cmd, err)
}

// report tells how a command ended and returns the exit code.
func (p *program) report(cmd command, err error) int {
	var wrong *usageError
	var stop *signalError
	var undo *netcfg.UndoError
	switch {
	case err == nil, errors.As(err, &stop) && !errors.As(err, &undo):
		return exitOK
	case errors.Is(err, errHelp):
		if err = p.print(cmd.usage); err == nil {
			return exitOK
		}
	case errors.As(err, &wrong):
		fmt.Fprintf(p.stderr, "dsvpn: %v\n\n%s", err, cmd.synopsis())
		return exitUsage
	}
	if p.log != nil {
		p.log.Error(err.Error())
	} else {
		fmt.Fprintf(p.stderr, "dsvpn: %v\n", err)
	}
	return exitError
}

// print writes what was asked for.
func (p *program) print(text string) error {
	_, err := io.WriteString(p.stdout, text)
	return err
}
