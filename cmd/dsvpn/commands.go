package main

import (
	"context"
	"slices"
	"strings"

	"dsvpn/netcfg"
	"dsvpn/session"
)

// A command is one of the things that the program does.
type command struct {
	name  string
	usage string // the first paragraph is the short form
	run   func(p *program, ctx context.Context, args []string) error
}

func (c command) synopsis() string {
	first, _, _ := strings.Cut(c.usage, "\n\n")
	return first + "\n"
}

// commands returns all of them, in the order of the usage.
func commands() []command {
	return []command{
		{"server", serverUsage, (*program).server},
		{"client", clientUsage, (*program).client},
		{"keygen", keygenUsage, (*program).keygen},
		{"check", checkUsage, (*program).checkCommand},
		{"health", healthUsage, (*program).healthCommand},
		{"cleanup", cleanupUsage, (*program).cleanupCommand},
		{"demo", demoUsage, (*program).demoCommand},
		{"version", versionUsage, (*program).version},
		helpCommand(),
	}
}

// helpCommand also stands in for a command that does not exist.
func helpCommand() command { return command{"help", usage, (*program).help} }

func findCommand(name string) (command, error) {
	switch name {
	case "-h", "--help":
		name = "help"
	case "--version":
		name = "version"
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return helpCommand(), usagef("unknown command %q", name)
	}
	return all[i], nil
}

// help prints the usage of the program, or of the command that it names.
func (p *program) help(_ context.Context, args []string) error {
	given, err := split(args, []option{{name: "COMMAND"}}, nil)
	if err != nil {
		return err
	}
	cmd := helpCommand()
	if name := given["COMMAND"]; name != "" {
		if cmd, err = findCommand(name); err != nil {
			return err
		}
	}
	return p.print(cmd.usage)
}

func (p *program) server(ctx context.Context, args []string) error {
	return p.tunnel(ctx, netcfg.Server, args)
}

func (p *program) client(ctx context.Context, args []string) error {
	return p.tunnel(ctx, netcfg.Client, args)
}

// tunnel reads everything that there is to read before it brings the tunnel
// up, and stays until the tunnel is down again.
func (p *program) tunnel(ctx context.Context, role netcfg.Role, args []string) error {
	o, err := parseOptions(role, args, p.env)
	if err != nil {
		return err
	}
	p.startLog(o)
	p.harden(o)
	key, err := p.loadKey(o)
	if err != nil {
		return err
	}
	ctx, stop := withSignals(ctx, p.log)
	defer stop()
	return p.up(ctx, o, key)
}

// loadKey returns the key that the options have, or name the file of.
func (p *program) loadKey(o options) (session.Key, error) {
	if o.Key != nil {
		return *o.Key, nil
	}
	key, notes, err := session.LoadKey(o.KeyFile)
	for _, note := range notes {
		p.log.Warn(note)
	}
	return key, err
}

// checkCommand reads the arguments of check: a role and those of the role, or
// flags alone for both roles.
func (p *program) checkCommand(ctx context.Context, args []string) error {
	roles, words := []netcfg.Role{netcfg.Server, netcfg.Client}, []option(nil)
	for _, role := range roles {
		if len(args) > 0 && args[0] == role.String() {
			roles, words, args = []netcfg.Role{role}, wordsOf(role), args[1:]
			break
		}
	}
	given, err := split(args, words, flags)
	if err != nil {
		return err
	}
	var wanted []options
	for _, role := range roles {
		o, err := makeOptions(role, given, p.env)
		if err != nil {
			return err
		}
		wanted = append(wanted, o)
	}
	p.startLog(wanted[0])
	ctx, stop := withSignals(ctx, p.log)
	defer stop()
	return p.check(ctx, wanted)
}

// cleanupCommand reads the arguments of cleanup, which are flags only.
func (p *program) cleanupCommand(ctx context.Context, args []string) error {
	given, err := split(args, nil, logFlags)
	if err != nil {
		return err
	}
	var o options
	if err := o.apply(logFlags, given, p.env); err != nil {
		return err
	}
	p.startLog(o)
	ctx, stop := withSignals(ctx, p.log)
	defer stop()
	return p.cleanup(ctx)
}

// demoCommand reads the arguments of demo.
func (p *program) demoCommand(ctx context.Context, args []string) error {
	keep := option{name: "--keep", boolean: true}
	given, err := split(args, nil, append([]option{keep}, logFlags...))
	if err != nil {
		return err
	}
	var o options
	if err := o.apply(logFlags, given, p.env); err != nil {
		return err
	}
	p.startLog(o)
	ctx, stop := withSignals(ctx, p.log)
	defer stop()
	return p.demo(ctx, isOn(given, keep))
}
