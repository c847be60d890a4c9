package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"dsvpn/netcfg/netlab"
)

// insideVariable tells a demo that it runs in a user namespace already.
const insideVariable = "INSIDE_DSVPN_DEMO"

// errDemo says that something was not as it should be. What that is has been
// printed.
var errDemo = errors.New("not everything is as it should be: see the lines marked FAIL")

// demo shows a server and a client at work in throw-away namespaces. With keep
// it leaves them up until it is interrupted.
func (p *program) demo(ctx context.Context, keep bool) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	node, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("the demo needs tunnel interfaces; run it as root: %w", err)
	}
	node.Close()
	inside := p.env[insideVariable] != ""
	if inside {
		// The programs keep former values of sysctls in /run, for what comes
		// after a kill.
		if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount an own /run: %w", err)
		}
	}
	t, err := newTrial(exe)
	if errors.Is(err, os.ErrPermission) && !inside {
		return p.demoInUserNamespace(ctx, exe, keep)
	}
	if err != nil {
		return err
	}
	d := &demo{p: p, trial: t, begin: time.Now()}
	return errors.Join(d.run(ctx, keep), t.close())
}

// demoInUserNamespace runs the demo as root of a user namespace, which anybody
// may be where the kernel allows it.
func (p *program) demoInUserNamespace(ctx context.Context, exe string, keep bool) error {
	cmd := exec.CommandContext(ctx, exe, "demo")
	if keep {
		cmd.Args = append(cmd.Args, "--keep")
	}
	// An interrupt at the keyboard reaches the child as well; what ends only
	// this process is passed on.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGTERM,
	}
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return errDemo // it has said why
	}
	if err != nil {
		return fmt.Errorf("the demo needs root, or a kernel that lets users make user namespaces: %w", err)
	}
	return nil
}

// demo is the state of a running demo.
type demo struct {
	*trial
	p      *program
	begin  time.Time
	failed bool

	clientUp, serverUp *process
}

const demoPicture = `dsvpn demo: three hosts in network namespaces of their own; nothing outside is touched

  client 198.51.100.2 ---- 198.51.100.1 server 203.0.113.1 ---- 203.0.113.2 internet
`

// run plays the scenes in their order, and stops after one that leaves
// nothing to go on with.
func (d *demo) run(ctx context.Context, keep bool) error {
	d.say(demoPicture)
	before, err := d.snapshots()
	if err != nil {
		return err
	}
	for _, scene := range []func(context.Context) error{
		d.prepare, d.start, d.traffic, d.killClient, d.killServer,
	} {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if err := scene(ctx); err != nil {
			return errors.Join(err, d.logs())
		}
	}
	if keep {
		d.wait(ctx)
	}
	if err := d.stop(before); err != nil {
		return err
	}
	if d.failed {
		return errors.Join(errDemo, d.logs())
	}
	d.say("\nAll is as it should be, in %.1f s. On two real machines: see the README.", time.Since(d.begin).Seconds())
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.p.stdout, format+"\n", args...)
}

// finding prints one line: what is right, with a figure, or what is wrong.
func (d *demo) finding(err error, what, figure string, args ...any) {
	if err != nil {
		d.failed = true
		d.say("  FAIL  %s: %v", what, err)
		return
	}
	d.say("  ok    %-66s %s", what, fmt.Sprintf(figure, args...))
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// logs is what the programs have written, as an error to print.
func (d *demo) logs() error {
	var b strings.Builder
	for name, p := range map[string]*process{"server": d.serverUp, "client": d.clientUp} {
		if p != nil {
			fmt.Fprintf(&b, "\nlog of the %s:\n%s", name, p.log.String())
		}
	}
	return errors.New(b.String())
}

func (d *demo) snapshots() (all [2]string, err error) {
	for i, h := range []*netlab.Host{d.client, d.server} {
		if all[i], err = h.Snapshot(); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (d *demo) start(ctx context.Context) (err error) {
	d.say("Up")
	_, err = d.whoAmI(ctx, silence)
	d.finding(unexpected(err, nil), "without a tunnel the client does not reach the internet host", "")
	if d.serverUp, err = d.startServer(); err != nil {
		return err
	}
	d.finding(nil, "dsvpn server vpn.key", "ready in %s", milliseconds(d.serverUp.took))
	plan, err := d.client.Command(ctx, d.exe, "client", d.key(), serverIP, "--dry-run").Output()
	if err != nil {
		return fmt.Errorf("dsvpn client --dry-run: %w", err)
	}
	if err := d.connect(); err != nil {
		return err
	}
	d.say("\nWhat that did to the client's host, as one would type it (dsvpn client ... --dry-run)")
	d.say("    %s", strings.ReplaceAll(strings.TrimSpace(string(plan)), "\n", "\n    "))
	return nil
}

func (d *demo) connect() (err error) {
	if d.clientUp, err = d.startClient(); err != nil {
		return err
	}
	d.finding(nil, "dsvpn client vpn.key "+serverIP, "connected in %s", milliseconds(d.clientUp.took))
	return nil
}

// unexpected turns the success of what must fail into an error. want, unless
// it is nil, is the error to fail with.
func unexpected(err, want error) error {
	switch {
	case err == nil:
		return errors.New("it worked, and should not")
	case want != nil && !errors.Is(err, want):
		return fmt.Errorf("%w, where %q is expected", err, want)
	}
	return nil
}

const (
	// enough is how long the demo waits for what must work.
	enough = 10 * time.Second
	// silence is how long it waits for an answer that must not come. What is
	// refused fails at once; only what is dropped takes that long.
	silence = 500 * time.Millisecond
)

func (d *demo) dial(ctx context.Context, limit time.Duration, h *netlab.Host, host, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return h.Dial(ctx, "tcp", net.JoinHostPort(host, port))
}

// whoAmI asks the internet host whom it sees.
func (d *demo) whoAmI(ctx context.Context, limit time.Duration) (string, error) {
	c, err := d.dial(ctx, limit, d.client, internetIP, portWho)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func (d *demo) traffic(ctx context.Context) error {
	d.say("\nTraffic from the client to the internet host")
	rtt, err := d.ping(netip.MustParseAddr(internetIP))
	d.finding(err, "ping "+internetIP, "%s", milliseconds(rtt))
	who, err := d.whoAmI(ctx, enough)
	if err == nil && who != serverUplinkIP {
		err = fmt.Errorf("it sees %s", who)
	}
	d.finding(err, "the internet host sees the server ("+serverUplinkIP+"), not the client", "")
	rate, err := d.upload(ctx)
	d.finding(err, fmt.Sprintf("%d MiB up, and the SHA-256 is right", transfer>>20), "%.0f Mb/s", rate)
	rate, err = d.download(ctx)
	d.finding(err, fmt.Sprintf("%d MiB down, and the SHA-256 is right", transfer>>20), "%.0f Mb/s", rate)
	begin := time.Now()
	_, err = d.dial(ctx, enough, d.client, internetIP6, portWho)
	d.finding(unexpected(err, syscall.EHOSTUNREACH), "IPv6 does not leak past the tunnel: refused at once", "%s", milliseconds(time.Since(begin)))
	return d.outside(ctx)
}

// outside tries the server's tunnel address from outside the tunnel.
func (d *demo) outside(ctx context.Context) error {
	tunnel := netip.MustParsePrefix("192.168.192.0/24")
	if err := d.internet.AddRoute(tunnel, netip.MustParseAddr(serverUplinkIP)); err != nil {
		return err
	}
	if err := d.serve(d.server, "192.168.192.254:"+portWho, func(net.Conn) error { return nil }); err != nil {
		return err
	}
	_, err := d.dial(ctx, enough, d.client, "192.168.192.254", portWho)
	d.finding(err, "the server's tunnel address answers the client", "")
	_, err = d.dial(ctx, silence, d.internet, "192.168.192.254", portWho)
	d.finding(unexpected(err, nil), "and nobody who comes from outside the tunnel", "")
	return d.internet.DelRoute(tunnel, netip.MustParseAddr(serverUplinkIP))
}

func (d *demo) killClient(ctx context.Context) error {
	d.say("\nThe client is killed (SIGKILL)")
	if err := d.clientUp.stop(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := d.whoAmI(ctx, silence)
	d.finding(unexpected(err, syscall.EHOSTUNREACH), "nothing leaves the client in the clear: every connection is refused", "")
	if err := d.connect(); err != nil {
		return err
	}
	_, err = d.whoAmI(ctx, enough)
	d.finding(err, "traffic flows again", "")
	return nil
}

func (d *demo) killServer(ctx context.Context) error {
	d.say("\nThe server is killed and started again")
	if err := d.serverUp.stop(syscall.SIGKILL); err != nil {
		return err
	}
	_, err := d.whoAmI(ctx, silence)
	d.finding(unexpected(err, nil), "the client keeps everything closed meanwhile", "")
	connected := d.clientUp.log.count("Connected")
	if d.serverUp, err = d.startServer(); err != nil {
		return err
	}
	begin := time.Now()
	err = d.clientUp.awaitNth(connected+1, "Connected", startTimeout)
	d.finding(err, "the client connects again by itself", "after %s", milliseconds(time.Since(begin)))
	_, err = d.whoAmI(ctx, enough)
	d.finding(err, "traffic flows again", "")
	return nil
}

// wait leaves the lab up until an interrupt.
func (d *demo) wait(ctx context.Context) {
	d.say("\nThe lab stays up until Ctrl-C. A look inside, from another terminal, as root:")
	for _, h := range []*netlab.Host{d.client, d.server, d.internet} {
		d.say("  nsenter --net=%s sh    # %s", h.Path(), h.Name())
	}
	<-ctx.Done()
}

// stop ends both programs, and compares the hosts with what they were.
func (d *demo) stop(before [2]string) error {
	d.say("\nDown (SIGTERM)")
	for _, p := range []struct {
		name string
		*process
	}{{"client", d.clientUp}, {"server", d.serverUp}} {
		begin := time.Now()
		err := p.stop(syscall.SIGTERM)
		d.finding(err, "the "+p.name+" stops", "in %s", milliseconds(time.Since(begin)))
	}
	after, err := d.snapshots()
	if err != nil {
		return err
	}
	for i, name := range []string{"client", "server"} {
		var err error
		if before[i] != after[i] {
			err = errors.New("it differs:" + missingIn("- ", before[i], after[i]) + missingIn("+ ", after[i], before[i]))
		}
		d.finding(err, "the "+name+"'s host is exactly as it was: links, routes, rules, firewall, sysctls", "")
	}
	return nil
}

// missingIn lists the lines of one text that another one lacks.
func missingIn(sign, a, b string) string {
	var list strings.Builder
	for line := range strings.Lines(a) {
		if !strings.Contains("\n"+b, "\n"+line) {
			list.WriteString("\n        " + sign + strings.TrimSuffix(line, "\n"))
		}
	}
	return list.String()
}
