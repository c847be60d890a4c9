//go:build unix

package fallback

import (
	"os/exec"
	"syscall"
)

// setApart puts a command into a process group of its own, which the terminal
// does not signal, and which is killed as one.
func setApart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
