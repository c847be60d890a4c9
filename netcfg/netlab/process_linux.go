package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Cmd is an [exec.Cmd] whose process starts on a host.
type Cmd struct {
	*exec.Cmd
	host *Host
}

// Command returns a command that will run on the host. It is like
// [exec.CommandContext] in everything else.
func (h *Host) Command(ctx context.Context, name string, args ...string) *Cmd {
	return &Cmd{exec.CommandContext(ctx, name, args...), h}
}

// Start is [Host.Start].
func (c *Cmd) Start() error { return c.host.Start(c.Cmd) }

// Run is [Host.Run].
func (c *Cmd) Run() error { return c.host.Run(c.Cmd) }

// Output is [Host.Output].
func (c *Cmd) Output() ([]byte, error) { return c.host.Output(c.Cmd) }

// CombinedOutput is [Host.CombinedOutput].
func (c *Cmd) CombinedOutput() ([]byte, error) { return c.host.CombinedOutput(c.Cmd) }

// Start starts a command on the host; the caller waits for it with cmd.Wait.
// The process is killed when the lab is closed, or this process dies.
func (h *Host) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The signal comes when the thread dies that started the child: that of
	// the host lives until the lab is closed.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := h.Do(func() error {
		if err := cmd.Start(); err != nil {
			return err
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.commands = append(running(h.commands), cmd)
		return nil
	})
	if err != nil {
		return fmt.Errorf("host %s: %w", h.name, err)
	}
	return nil
}

// Run is like [exec.Cmd.Run], on the host.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Output is like [exec.Cmd.Output], on the host. What a failing command wrote
// to standard error is in the Stderr field of its [exec.ExitError], unless
// cmd.Stderr is set.
func (h *Host) Output(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout = &stdout
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	err := h.Run(cmd)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput is like [exec.Cmd.CombinedOutput], on the host.
func (h *Host) CombinedOutput(cmd *exec.Cmd) ([]byte, error) {
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err := h.Run(cmd)
	return both.Bytes(), err
}

// running returns those of the commands that nobody has waited for to the end.
func running(commands []*exec.Cmd) []*exec.Cmd {
	var left []*exec.Cmd
	for _, c := range commands {
		if !errors.Is(c.Process.Signal(syscall.Signal(0)), os.ErrProcessDone) {
			left = append(left, c)
		}
	}
	return left
}

// killAll ends every process on the hosts: those that were started from here
// and their descendants. It returns when all are gone.
func killAll(hosts map[string]*Host) error {
	inside := make(map[string]bool, len(hosts))
	var commands []*exec.Cmd
	for _, h := range hosts {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.ns))
		if err != nil {
			return fmt.Errorf("host %s: %w", h.name, err)
		}
		inside[name] = true
		h.mu.Lock()
		commands = append(commands, running(h.commands)...)
		h.mu.Unlock()
	}
	var left []int
	gone := poll(5*time.Second, func() bool {
		for _, pid := range processes(inside) {
			unix.Kill(pid, unix.SIGKILL)
		}
		reap(commands)
		left = processes(inside)
		return len(left) == 0
	})
	if !gone {
		return fmt.Errorf("processes %v outlive the lab", left)
	}
	return nil
}

// reap kills commands and takes their exit status. Whoever is waiting in
// cmd.Wait goes first and gets the status; what nobody waits for must not
// stay as a zombie.
func reap(commands []*exec.Cmd) {
	for _, c := range commands {
		c.Process.Kill()
	}
	poll(50*time.Millisecond, func() bool {
		commands = running(commands)
		return len(commands) == 0
	})
	for _, c := range commands {
		c.Process.Wait()
	}
}

// processes returns the processes in any of the namespaces, other than this
// one. Those of other users cannot be looked into, and are not ours.
func processes(namespaces map[string]bool) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if ns, err := os.Readlink(dir + "/ns/net"); err == nil && namespaces[ns] {
			pids = append(pids, pid)
		}
	}
	return pids
}
