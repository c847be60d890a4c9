package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"dsvpn/netcfg/netlab"
)

// startLimit is far longer than any start or stop takes.
const startLimit = 20 * time.Second

// process is a program on a host.
type process struct {
	name string
	cmd  *exec.Cmd
	log  output

	done chan struct{}
	err  error // valid when done is closed
}

// start starts a program on a host. What it writes goes to its log.
func start(h *netlab.Host, name string, args ...string) (*process, error) {
	p := &process{
		name: filepath.Base(name) + " on the " + h.Name(),
		cmd:  exec.Command(name, args...),
		done: make(chan struct{}),
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := h.Start(p.cmd); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// await waits until the program has written these words.
func (p *process) await(ctx context.Context, words string) error {
	return p.until(ctx, fmt.Sprintf("has said %q", words), func() bool { return strings.Contains(p.log.String(), words) })
}

// until waits until something is true, as long as the program runs.
func (p *process) until(ctx context.Context, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended (%v) before it %s:\n%s", p.name, p.err, what, p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("%w before %s %s:\n%s", ctx.Err(), p.name, what, p.log.String())
		}
	}
	return nil
}

func (p *process) runs() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// stop sends SIGTERM, and returns how long the program took to end. With what
// code it ends is its own affair.
func (p *process) stop() (time.Duration, error) {
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, fmt.Errorf("%s is gone already (%w):\n%s", p.name, err, p.log.String())
	}
	select {
	case <-p.done:
		return time.Since(begin), nil
	case <-time.After(startLimit):
		return 0, fmt.Errorf("%s does not end:\n%s", p.name, p.log.String())
	}
}

// clockTicks is the number of ticks in a second that the kernel counts in for
// user space: 100 on all machines that Go runs on.
const clockTicks = 100

// cpu returns the processor time, in seconds, that the program has used so
// far, in user space and in the kernel.
func (p *process) cpu() (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, may have blanks. Behind it come
	// field 3 and so on of proc_pid_stat(5); those wanted are 14 and 15.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s: /proc/PID/stat is %q", p.name, stat)
	}
	user, err1 := strconv.ParseFloat(string(fields[11]), 64)
	system, err2 := strconv.ParseFloat(string(fields[12]), 64)
	return (user + system) / clockTicks, errors.Join(err1, err2)
}

// peak returns the highest resident memory of the program so far, in megabytes.
func (p *process) peak() (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, fmt.Errorf("%s has ended:\n%s", p.name, p.log.String())
}

// output collects what a program writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
