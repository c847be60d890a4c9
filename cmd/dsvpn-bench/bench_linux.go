package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dsvpn/netcfg/netlab"
)

// bench measures what the arguments say. The results are those so far where
// it returns an error as well.
func bench(ctx context.Context, a arguments, progress io.Writer) (*results, error) {
	if err := errors.Join(missingTools(), missingRights()); err != nil {
		return nil, err
	}
	all := []contender{direct{}, newProgram(a.dsvpn), &wireguard{}, &openvpn{}}
	if a.peerServer != "" {
		all = append(all, newPeer(a.peerServer, a.peerClient))
	}
	list := measurements()
	cs, ms, err := choose(a.only, names(all, contender.name), names(list, func(m measurement) string { return m.name }))
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c contender) bool { return !slices.Contains(cs, c.name()) })
	list = slices.DeleteFunc(list, func(m measurement) bool { return !slices.Contains(ms, m.name) })
	dir, err := os.MkdirTemp("", "dsvpn-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bencher{results: results{Rounds: a.rounds, Seconds: a.seconds}, measurements: list, progress: progress}
	if err := b.prepare(ctx, all, dir); err != nil {
		return nil, err
	}
	b.Machine = thisMachine()
	defer func() { b.Machine.LoadAfter = load() }()
	for i := range a.rounds {
		b.say("round %d of %d", i+1, a.rounds)
		if err := b.round(ctx, i); err != nil {
			b.note("ended in round %d", i+1)
			return &b.results, err
		}
	}
	if b.failures > 0 {
		return &b.results, fmt.Errorf("%d measurements failed: see below the table", b.failures)
	}
	return &b.results, nil
}

// missingTools tells what has to be installed.
func missingTools() error {
	packages := map[string]string{"iperf3": "iperf3", "ping": "iputils-ping"}
	var missing []string
	for name, pkg := range packages {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, pkg)
		}
	}
	if missing == nil {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("programs are missing; on Debian: apt-get install %s", strings.Join(missing, " "))
}

// missingRights tells whether this process may build hosts and tunnels at all.
func missingRights() error {
	node, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("tunnel interfaces: %w", err)
	}
	node.Close()
	lab, err := netlab.New()
	if err != nil {
		return err
	}
	return lab.Close()
}

func names[T any](list []T, name func(T) string) []string {
	var all []string
	for _, one := range list {
		all = append(all, name(one))
	}
	return all
}

// bencher is one run of the bench.
type bencher struct {
	results
	contenders   []contender
	measurements []measurement
	progress     io.Writer
	failures     int
}

func (b *bencher) say(format string, args ...any) { fmt.Fprintf(b.progress, format+"\n", args...) }

// note keeps a remark for below the table, once.
func (b *bencher) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	b.say("%s", n)
	if !slices.Contains(b.Notes, n) {
		b.Notes = append(b.Notes, n)
	}
}

func (b *bencher) failed(what string, err error) {
	b.failures++
	b.note("%s failed: %v", what, err)
}

// prepare keeps the contenders that can be had. Without this program the
// comparison makes no sense.
func (b *bencher) prepare(ctx context.Context, all []contender, dir string) error {
	for _, c := range all {
		b.say("prepare %s", c.name())
		own := filepath.Join(dir, c.name())
		if err := os.Mkdir(own, 0o700); err != nil {
			return err
		}
		err := c.prepare(ctx, own)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && c.name() == subject:
			return fmt.Errorf("%s: %w", subject, err)
		case err != nil:
			b.note("%s is left out: %v", c.name(), err)
			continue
		}
		b.contenders = append(b.contenders, c)
		b.Contenders = append(b.Contenders, c.name())
	}
	if b.contenders == nil {
		return errors.New("no contender is left")
	}
	return nil
}

// round brings all contenders up, measures them, and takes them down. Every
// round another contender is the first.
func (b *bencher) round(ctx context.Context, number int) (err error) {
	var sites []*site
	defer func() {
		for _, s := range sites {
			err = errors.Join(err, s.close())
		}
	}()
	for i := range b.contenders {
		c := b.contenders[(i+number)%len(b.contenders)]
		s, err := newSite(ctx, c)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			b.failed(c.name()+": start", err)
			continue
		}
		sites = append(sites, s)
	}
	for _, m := range b.measurements {
		for _, s := range sites {
			b.say("  %-14s %s", m.name, s.name())
			values, err := m.run(ctx, s, b.Seconds)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.failed(s.name()+": "+m.name, err)
				continue
			}
			for i, f := range m.figures {
				b.add(f, s.name(), values[i])
			}
		}
	}
	return nil
}

func thisMachine() machine {
	var u unix.Utsname
	unix.Uname(&u)
	return machine{
		System:     unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:]) + " " + runtime.GOARCH,
		CPUs:       runtime.NumCPU(),
		LoadBefore: load(),
	}
}

// load is the load average of the last minute.
func load() (l float64) {
	text, _ := os.ReadFile("/proc/loadavg")
	fmt.Sscan(string(text), &l)
	return l
}
