package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"

	"dsvpn/fallback"
	"dsvpn/netcfg"
	"dsvpn/session"
	"dsvpn/tun"
)

// errCheck says that something would not work. What that is has been printed.
var errCheck = errors.New("this host is not ready: see the lines marked FAIL")

// check tells for each of the given options whether this host could do it. It
// tries things as a start would, and leaves nothing of that behind.
func (p *program) check(ctx context.Context, wanted []options) error {
	r := report{p: p}
	for i, o := range wanted {
		if i > 0 {
			r.line("")
		}
		r.line("as a %s:", o.Net.Role)
		r.check(ctx, o)
	}
	if r.err == nil && r.failed {
		return errCheck
	}
	return r.err
}

// report prints findings, one to a line.
type report struct {
	p      *program
	failed bool
	err    error // of printing
}

func (r *report) line(format string, args ...any) {
	if err := r.p.print(fmt.Sprintf(format, args...) + "\n"); r.err == nil {
		r.err = err
	}
}

func (r *report) ok(format string, args ...any)   { r.line("  ok    "+format, args...) }
func (r *report) note(format string, args ...any) { r.line("  note  "+format, args...) }

// verdict prints what works, or the error, which says what to do.
func (r *report) verdict(err error, format string, args ...any) {
	if err == nil {
		r.ok(format, args...)
		return
	}
	r.failed = true
	r.line("  FAIL  %s", strings.ReplaceAll(err.Error(), "\n", "\n        "))
}

func (r *report) check(ctx context.Context, o options) {
	r.verdict(checkPrivilege(), "the privilege to configure the network is there")
	r.device(ctx, o)
	r.host(ctx, o)
	if o.Key != nil {
		r.ok("%s can be used", keyVariable)
	} else if o.KeyFile != "" {
		r.key(o.KeyFile)
	}
	if o.Net.Role == netcfg.Server {
		r.port(ctx, o)
	} else if o.Server != "" {
		r.server(ctx, o)
	}
}

func (r *report) device(ctx context.Context, o options) {
	dev, err := tun.Open(ctx, o.Net.Interface, o.Net.MTU)
	if err != nil {
		r.verdict(err, "")
		return
	}
	r.verdict(dev.Close(), "a tunnel interface (%s) can be made", dev.Name())
}

// host looks for what stands in the way of a plan.
func (r *report) host(ctx context.Context, o options) {
	facts, err := netcfg.Probe(o.Net)
	if err != nil {
		r.verdict(err, "")
		return
	}
	if facts.HasCommands() {
		r.commands(facts.System)
	}
	// The plan needs the addresses of the server. That there are none is told
	// where the server is looked for.
	_ = r.p.findServer(ctx, &o, facts)
	for _, u := range facts.Uplinks {
		r.ok("%s default route: %s", u.Family, strings.TrimSpace(u.Interface+gateway(u.Gateway)))
	}
	plan, err := r.p.plan(&o, facts)
	r.verdict(err, "the host can be set up: %d steps (--dry-run shows them)", len(plan.Steps))
	for _, n := range plan.Notes {
		r.note("%s", n)
	}
	for _, w := range plan.Warnings {
		r.line("  WARN  %s", w)
	}
}

// commands looks for the programs of the system, and says where and on what this
// is, since the line is sent to people who do not have such a system.
func (r *report) commands(goos string) {
	sys, _ := fallback.For(goos)
	r.note("%s/%s: reports of what works and what does not are welcome (see the README)", goos, runtime.GOARCH)
	for _, name := range sys.Programs() {
		path, err := fallback.Host{}.Find(name)
		r.verdict(err, "%s", path)
	}
}

func gateway(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return " via " + a.String()
}

func (r *report) key(file string) {
	_, warnings, err := session.LoadKey(file)
	r.verdict(err, "the key file can be used")
	for _, w := range warnings {
		r.line("  WARN  %s", w)
	}
}

func (r *report) port(ctx context.Context, o options) {
	l, err := session.Listen(ctx, session.Config{Mark: o.Net.Mark}, o.Address, o.Port)
	if err == nil {
		err = l.Close()
	}
	r.verdict(err, "port %d can be listened on", o.Port)
}

// connectTimeout is long enough for a SYN to be sent three times.
const connectTimeout = 5 * time.Second

// server looks whether the server is there. It does not say hello, since that
// could end the session of somebody else.
func (r *report) server(ctx context.Context, o options) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", o.Server)
	if err != nil {
		r.verdict(fmt.Errorf("name of the server: %w", err), "")
		return
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	r.ok("the server is at %v", addrs)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(o.Server, strconv.Itoa(int(o.Port))))
	if err == nil {
		err = conn.Close()
	}
	r.verdict(err, "it answers on port %d", o.Port)
}
