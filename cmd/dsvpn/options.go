package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"dsvpn/netcfg"
	"dsvpn/session"
)

const (
	defaultPort       = 443
	defaultCongestion = netcfg.DefaultCongestion
	autoInterface     = "auto" // the kernel picks the next free name

	// minMTU is the least that an IPv4 link may have (RFC 791), and
	// minMTU6 that of an IPv6 link (RFC 8200): the kernel takes no IPv6
	// address on a smaller one.
	minMTU  = 68
	minMTU6 = 1280
	// maxMTU is the longest frame.
	maxMTU = math.MaxUint16

	// minTimeout is longer than most paths take when they are congested, and
	// maxTimeout as long as anybody would wait.
	minTimeout = 2 * time.Second
	maxTimeout = 10 * time.Minute

	// lastRulePriority leaves room for the second of our two rules before
	// that of the main table (32766).
	lastRulePriority = 32764
	// maxTable is the highest number of a routing table that a signed number
	// of this machine can hold.
	maxTable = min(math.MaxUint32, math.MaxInt)
)

// offload says whether the kernel may hand over large packets.
type offload string

const (
	offloadAuto offload = "auto" // as far as the kernel can
	offloadOff  offload = "off"
)

// options is a checked command line: what to do, and nothing about how.
type options struct {
	KeyFile  string
	Key      *session.Key // instead of a file, from the environment
	Server   string       // client: host name or address to connect to, without brackets
	Address  string       // server: host name or address to listen on; empty means all
	Port     uint16
	External string // the C program's last word, as it was typed; may be anything

	Net netcfg.Config // Interface is a name or "auto"

	Timeout        time.Duration // how long a dead path may go unnoticed
	ReconnectLimit int           // connection attempts in a row; 0 means for ever
	Sandbox        sandbox
	Offload        offload
	DryRun         bool
	Fallback       string // a system, whose commands are printed with FallbackDryRun
	FallbackDryRun bool
	Health         string // HOST:PORT to answer questions about the tunnel's health on; empty is none

	LogLevel  slog.Level
	LogFormat logFormat
}

// serverWords and clientWords are the positional arguments, in the order of
// the C program.
var (
	serverWords = []option{
		keyWord,
		{name: "ADDRESS", env: "DSVPN_ADDRESS", set: field(parseHost, func(o *options) *string { return &o.Address })},
		portWord, tunWord, localWord, remoteWord,
		{name: "EXTERNAL", env: "DSVPN_EXTERNAL", set: setExternal},
	}
	clientWords = []option{
		keyWord,
		{name: "SERVER", env: "DSVPN_SERVER", set: field(parseHost, func(o *options) *string { return &o.Server })},
		portWord, tunWord, localWord, remoteWord,
		{name: "GATEWAY", env: "DSVPN_GATEWAY", set: setExternal},
	}

	keyWord    = option{name: "KEY", env: "DSVPN_KEY_FILE", set: field(anything, func(o *options) *string { return &o.KeyFile })}
	portWord   = option{name: "PORT", env: "DSVPN_PORT", set: field(parsePort, func(o *options) *uint16 { return &o.Port })}
	tunWord    = option{name: "TUN", env: "DSVPN_TUN", set: field(parseInterface, func(o *options) *string { return &o.Net.Interface })}
	localWord  = option{name: "LOCAL", env: "DSVPN_LOCAL", set: field(parseTunnelAddr, func(o *options) *netip.Addr { return &o.Net.Local })}
	remoteWord = option{name: "REMOTE", env: "DSVPN_REMOTE", set: field(parseTunnelAddr, func(o *options) *netip.Addr { return &o.Net.Remote })}

	// setExternal takes anything: the C program on Linux never looks at this
	// word, so there are scripts with junk in it.
	setExternal = field(anything, func(o *options) *string { return &o.External })
)

// flags are those of server and client alike, so that both ends can share
// one environment file.
var flags = slices.Concat([]option{
	boolFlag("--point-to-point", func(o *options) *bool { return &o.Net.PointToPoint }),
	flag("--firewall", oneOf(netcfg.FirewallAuto, netcfg.FirewallNFT, netcfg.FirewallIPTables, netcfg.FirewallNone), func(o *options) *netcfg.FirewallKind { return &o.Net.Firewall }),
	flag("--mark", number[uint32](1, math.MaxUint32), func(o *options) *uint32 { return &o.Net.Mark }),
	flag("--table", parseTable, func(o *options) *int { return &o.Net.Table }),
	flag("--rule-priority", number[int](1, lastRulePriority), func(o *options) *int { return &o.Net.RulePriority }),
	flag("--mtu", number[int](minMTU, maxMTU), func(o *options) *int { return &o.Net.MTU }),
	flag("--congestion", parseCongestion, func(o *options) *string { return &o.Net.Congestion }),
	flag("--ipv6", oneOf(netcfg.IPv6Block, netcfg.IPv6Tunnel, netcfg.IPv6Off), func(o *options) *netcfg.IPv6Mode { return &o.Net.IPv6 }),
	flag("--tunnel6", parsePrefix6, func(o *options) *netip.Prefix { return &o.Net.Prefix6 }),
	listFlag("--dns", parseNameServer, func(o *options) *[]netip.Addr { return &o.Net.DNS }),
	boolFlag("--keep-inbound", func(o *options) *bool { return &o.Net.KeepInbound }),
	flag("--timeout", duration(minTimeout, maxTimeout), func(o *options) *time.Duration { return &o.Timeout }),
	flag("--reconnect-limit", number[int](0, math.MaxInt32), func(o *options) *int { return &o.ReconnectLimit }),
	boolFlag("--kill-switch", func(o *options) *bool { return &o.Net.KillSwitch }),
	flag("--allow", parsePrefixes, func(o *options) *[]netip.Prefix { return &o.Net.Allowed }),
	boolFlag("--keep-closed", func(o *options) *bool { return &o.Net.KeepClosed }),
	flag("--health", parseListen, func(o *options) *string { return &o.Health }),
	flag("--sandbox", oneOf(sandboxAuto, sandboxOff), func(o *options) *sandbox { return &o.Sandbox }),
	flag("--offload", oneOf(offloadAuto, offloadOff), func(o *options) *offload { return &o.Offload }),
	boolFlag("--dry-run", func(o *options) *bool { return &o.DryRun }),
}, logFlags)

// hiddenFlags are for whoever works on this program. They have no variables.
var hiddenFlags = []option{
	{name: "--fallback", set: field(parseSystem, func(o *options) *string { return &o.Fallback })},
	{name: "--fallback-dry-run", boolean: true, set: field(parseBool, func(o *options) *bool { return &o.FallbackDryRun })},
}

// logFlags are those of every command that changes the host.
var logFlags = []option{
	flag("--log-level", parseLevel, func(o *options) *slog.Level { return &o.LogLevel }),
	flag("--log-format", oneOf(logText, logJSON), func(o *options) *logFormat { return &o.LogFormat }),
}

// flag makes an option of a name, whose variable follows from it: that of
// --rule-priority is DSVPN_RULE_PRIORITY.
func flag[T any](name string, parse func(string) (T, error), at func(*options) *T) option {
	env := "DSVPN_" + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(name, "-"), "-", "_"))
	return option{name: name, env: env, set: field(parse, at)}
}

func boolFlag(name string, at func(*options) *bool) option {
	o := flag(name, parseBool, at)
	o.boolean = true
	return o
}

// listFlag makes an option that may be given several times, and several values
// at a time, with commas between them.
func listFlag[T any](name string, parse func(string) (T, error), at func(*options) *[]T) option {
	all := func(list string) (values []T, err error) {
		for s := range strings.SplitSeq(list, ",") {
			v, err := parse(strings.TrimSpace(s))
			if err != nil {
				return nil, err
			}
			values = append(values, v)
		}
		return values, nil
	}
	o := flag(name, all, at)
	o.list = true
	return o
}

// field joins the meaning of a value to the place where it is kept.
func field[T any](parse func(string) (T, error), at func(*options) *T) func(*options, string) error {
	return func(o *options, value string) (err error) {
		*at(o), err = parse(value)
		return err
	}
}

func wordsOf(role netcfg.Role) []option {
	if role == netcfg.Server {
		return serverWords
	}
	return clientWords
}

// parseOptions reads the command line and the environment of a server or a
// client. It looks at nothing else, so whatever it finds wrong is found
// before anything on the host has changed.
func parseOptions(role netcfg.Role, args []string, env environment) (options, error) {
	given, err := split(args, wordsOf(role), slices.Concat(flags, hiddenFlags))
	if err != nil {
		return options{}, err
	}
	o, err := makeOptions(role, given, env)
	switch {
	case err != nil:
		return options{}, err
	case o.KeyFile == "" && o.Key == nil:
		return options{}, usagef("KEY is missing: name the key file, or set DSVPN_KEY_FILE or %s", keyVariable)
	case role == netcfg.Client && o.Server == "":
		return options{}, usagef("SERVER is missing: name the server, or set DSVPN_SERVER")
	}
	return o, nil
}

// makeOptions fills options from what was given on the command line, else
// the environment, else the defaults. It asks for nothing, since some
// commands can do without a key or a server.
func makeOptions(role netcfg.Role, given map[string]string, env environment) (options, error) {
	goos := runtime.GOOS
	if f := given["--fallback"]; isGiven(f) {
		goos = f
	}
	o := defaultOptions(role, goos)
	if err := o.apply(slices.Concat(wordsOf(role), flags, hiddenFlags), given, env); err != nil {
		return options{}, err
	}
	if err := errors.Join(o.takeKey(env), o.fit()); err != nil {
		return options{}, &usageError{err}
	}
	o.Net.OperatorAddr = env.operator()
	o.Net.Port = o.Port
	return o, nil
}

// keyVariable has the key itself, as dsvpn keygen --show prints it: for
// containers that cannot mount a file. It has no place among the options since
// their values are quoted in errors.
const keyVariable = "DSVPN_KEY"

func (o *options) takeKey(env environment) error {
	text := env[keyVariable]
	switch {
	case !isGiven(text):
		return nil
	case o.KeyFile != "":
		return fmt.Errorf("%s has a key, and KEY or DSVPN_KEY_FILE names the file %q: give one of them", keyVariable, o.KeyFile)
	}
	key, err := session.ParseKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", keyVariable, err)
	}
	o.Key = &key
	return nil
}

// apply sets what was given on the command line, else in the environment.
func (o *options) apply(opts []option, given map[string]string, env environment) error {
	for _, opt := range opts {
		source, value := opt.name, given[opt.name]
		if !isGiven(value) {
			source, value = opt.env, env[opt.env]
		}
		if !isGiven(value) {
			continue
		}
		if err := opt.set(o, value); err != nil {
			return usagef("%s %q: %w", source, value, err)
		}
	}
	return nil
}

// defaultOptions returns what a bare command line means.
func defaultOptions(role netcfg.Role, goos string) options {
	o := options{
		Port:    defaultPort,
		Timeout: session.DefaultTimeout,
		Net: netcfg.Config{
			Role:         role,
			Interface:    autoInterface,
			MTU:          netcfg.DefaultMTU,
			Local:        netcfg.DefaultClientAddr,
			Remote:       netcfg.DefaultServerAddr,
			Prefix6:      netcfg.DefaultPrefix6,
			Firewall:     netcfg.FirewallAuto,
			IPv6:         netcfg.IPv6Block,
			Mark:         netcfg.DefaultMark,
			Table:        netcfg.DefaultTable,
			RulePriority: netcfg.DefaultRulePriority,
			Congestion:   defaultCongestion,
			StateDir:     stateDir(goos),
		},
		Sandbox:   sandboxAuto,
		Offload:   offloadAuto,
		LogLevel:  slog.LevelInfo,
		LogFormat: logText,
	}
	if role == netcfg.Server {
		o.Net.Local, o.Net.Remote = o.Net.Remote, o.Net.Local
	}
	if goos == "netbsd" {
		o.Net.MTU = 1500 // the most that its tun driver takes
	}
	return o
}

// fit checks the values against each other.
func (o options) fit() error {
	if o.Net.Local == o.Net.Remote {
		return fmt.Errorf("LOCAL and REMOTE are both %s: they must differ", o.Net.Local)
	}
	if server, err := netip.ParseAddr(o.Server); err == nil {
		switch server.Unmap() {
		case o.Net.Local, o.Net.Remote:
			return fmt.Errorf("SERVER %s is an address inside the tunnel: it must be one outside", server)
		}
		if server.IsUnspecified() || server.IsMulticast() {
			return fmt.Errorf("SERVER %s is not the address of one host", server)
		}
	}
	switch {
	case o.Net.KillSwitch && o.Net.KeepInbound:
		return errors.New("--keep-inbound lets answers out past the tunnel, which --kill-switch forbids: choose one")
	case o.Net.KillSwitch && o.Net.Firewall == netcfg.FirewallNone:
		return errors.New("--kill-switch is firewall rules, and cannot go with --firewall none")
	case o.Net.KillSwitch && o.Net.PointToPoint:
		return errors.New("--kill-switch is of no use with --point-to-point, which sends nothing into the tunnel")
	case len(o.Net.Allowed) > 0 && !o.Net.KillSwitch:
		return errors.New("--allow is for --kill-switch, which is not given")
	case o.Net.Role == netcfg.Client && o.Net.PointToPoint && len(o.Net.DNS) > 0:
		return errors.New("--dns does not go with --point-to-point, which changes nothing but the interface")
	}
	if o.Net.IPv6 == netcfg.IPv6Tunnel && o.Net.MTU < minMTU6 {
		return fmt.Errorf("--ipv6 tunnel needs an MTU of at least %d bytes: --mtu is %d", minMTU6, o.Net.MTU)
	}
	return nil
}
