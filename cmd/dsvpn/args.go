package main

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// An option is one thing that can be set: by a word in a fixed place or by a
// flag, and by an environment variable.
type option struct {
	name    string // as it stands in the usage: PORT, --mtu
	env     string // empty where there is none
	boolean bool   // a flag that needs no value
	list    bool   // a flag whose values add up
	set     func(o *options, value string) error
}

// split sorts a command line into values by option name. Flags may stand
// before, between and after the words; "--" ends them. It knows nothing of
// what a value means.
func split(args []string, words, flags []option) (map[string]string, error) {
	given := map[string]string{}
	onlyWords := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case onlyWords || arg == "-" || !strings.HasPrefix(arg, "-"):
			if len(words) == 0 {
				return nil, usagef("argument %q is one too many", arg)
			}
			given[words[0].name] = arg
			words = words[1:]
		case arg == "--":
			onlyWords = true
		case arg == "-h", arg == "--help":
			return nil, errHelp
		default:
			name, value, rest, err := splitFlag(arg, args, flags)
			if err != nil {
				return nil, err
			}
			if earlier := given[name]; isGiven(earlier) && isList(name, flags) {
				value = earlier + "," + value
			}
			given[name], args = value, rest
		}
	}
	return given, nil
}

// splitFlag takes one flag apart; its value is behind an equals sign or is the
// next argument. It returns the arguments that are left.
func splitFlag(arg string, next []string, flags []option) (name, value string, rest []string, err error) {
	name, value, hasValue := strings.Cut(arg, "=")
	i := slices.IndexFunc(flags, func(f option) bool { return f.name == name })
	switch {
	case i < 0:
		return "", "", nil, usagef("unknown flag %q", name)
	case flags[i].boolean && !hasValue:
		return name, "true", next, nil
	case hasValue:
		if _, err := parseBool(value); flags[i].boolean && isGiven(value) && err != nil {
			return "", "", nil, usagef("%s %q: %w", name, value, err)
		}
		return name, value, next, nil
	case len(next) == 0:
		return "", "", nil, usagef("flag %s needs a value", name)
	}
	return name, next[0], next[1:], nil
}

func isList(name string, flags []option) bool {
	return slices.ContainsFunc(flags, func(f option) bool { return f.name == name && f.list })
}

// isOn tells whether a flag without a place in options has been given.
func isOn(given map[string]string, flag option) bool {
	on, err := parseBool(given[flag.name])
	return err == nil && on
}

// isGiven tells whether a value says anything. The C program's word for "no
// value" is auto; an empty variable is how a container says it.
func isGiven(value string) bool { return value != "" && value != "auto" }

// An environment holds variables by name.
type environment map[string]string

func parseEnviron(environ []string) environment {
	env := environment{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	return env
}

// operator is the address that somebody has logged in from, if they have by
// ssh, which says so.
func (env environment) operator() netip.Addr {
	client, _, _ := strings.Cut(env["SSH_CONNECTION"], " ")
	addr, _ := netip.ParseAddr(client)
	return addr.Unmap()
}

// strangers returns the variables that look like ours and are not: most
// likely typing errors.
func (env environment) strangers() []string {
	known := map[string]bool{keyVariable: true}
	for _, o := range slices.Concat(serverWords, clientWords, flags) {
		known[o.env] = true
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, "DSVPN_") && !known[name] {
			names = append(names, name)
		}
	}
	return names
}
