package fallback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Runner runs commands on a host.
type Runner interface {
	// Run returns what a command has printed, on both outputs. An error, also
	// that of a command which does not end with 0, is a [*RunError].
	Run(Command) (output string, err error)
}

// RunError is a command that has failed.
type RunError struct {
	Command Command
	Output  string // what it has said: its beginning
	Err     error  // such as "exit status 1" or "signal: killed"
}

func (e *RunError) Error() string {
	said := strings.Join(strings.Fields(clip(e.Output)), " ")
	if said == "" {
		said = "it said nothing"
	}
	return fmt.Sprintf("%s: %v: %s", e.Command, e.Err, said)
}

func (e *RunError) Unwrap() error { return e.Err }

// Gone reports whether the command says that what it should take away is not
// there.
func (e *RunError) Gone() bool {
	return slices.ContainsFunc(gone, func(s string) bool { return strings.Contains(e.Output, s) })
}

// ExitStatus is how a command has ended that says itself that it failed.
type ExitStatus int

func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// errQuiet is a failure that the exit status does not tell.
var errQuiet = errors.New("it ends like a success, and says")

// failures are what commands say that end with 0 all the same: route(8) of macOS,
// whose newroute ends so whatever the kernel has answered.
var failures = []string{"writing to routing socket: "}

// Do runs a command and looks at what it says, too.
func Do(r Runner, c Command) (output string, err error) {
	output, err = r.Run(c)
	if err == nil && slices.ContainsFunc(failures, func(s string) bool { return strings.Contains(output, s) }) {
		err = &RunError{Command: c, Output: output, Err: errQuiet}
	}
	return output, err
}

// Refused reports whether the command has ended by itself, having done nothing.
// If not, nobody knows what it has done.
func (e *RunError) Refused() bool {
	_, ok := errors.AsType[ExitStatus](e.Err)
	return ok || errors.Is(e.Err, errQuiet) || errors.Is(e.Err, exec.ErrNotFound)
}

// ErrTimeout says that a command did not end in time, and was killed.
var ErrTimeout = errors.New("it took too long and was killed")

const (
	// patience is how long a command may take. All of them only talk to the
	// kernel, and end at once.
	patience = 20 * time.Second
	// maxOutput is how much of what a command says is kept, in bytes.
	maxOutput = 64 << 10
	// maxSaid is how much of that is in an error, in bytes.
	maxSaid = 300
	// afterwards is how long a command that has ended may leave its output open
	// to others.
	afterwards = time.Second
)

// folders are where the commands of all systems are. The variable PATH, which
// whoever starts us has set, does not matter.
var folders = []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"}

// Host runs commands on this host. Its zero value is ready.
type Host struct {
	Patience time.Duration // how long a command may take; 0 is 20 s
	Folders  []string      // where commands are; none are those of the system
}

// Find returns the path of a program.
func (h Host) Find(name string) (string, error) {
	in := h.Folders
	if in == nil {
		in = folders
	}
	for _, dir := range in {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s: %w", name, strings.Join(in, ", "), exec.ErrNotFound)
}

// Run implements [Runner]. The command speaks English, sees none of our
// environment, and no signal that the terminal sends us: what has begun is
// finished, and then undone. It is killed, with its children, when it takes too
// long.
func (h Host) Run(c Command) (string, error) {
	fail := func(output string, err error) (string, error) {
		return output, &RunError{Command: c, Output: output, Err: err}
	}
	if len(c.Args) == 0 {
		return fail("", errors.New("no command"))
	}
	path, err := h.Find(c.Args[0])
	if err != nil {
		return fail("", err)
	}
	limit := h.Patience
	if limit == 0 {
		limit = patience
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, c.Args[1:]...)
	cmd.Env = []string{"LC_ALL=C", "PATH=" + strings.Join(folders, ":")}
	cmd.WaitDelay = afterwards
	if c.Input != "" {
		cmd.Stdin = strings.NewReader(c.Input + "\n")
	}
	var said beginning
	cmd.Stdout, cmd.Stderr = &said, &said
	setApart(cmd)
	err = cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case ctx.Err() != nil:
		return fail(said.String(), fmt.Errorf("%w (after %v)", ErrTimeout, limit))
	case ok && exit.Exited():
		return fail(said.String(), ExitStatus(exit.ExitCode()))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return fail(said.String(), err)
	}
	return said.String(), nil
}

// beginning keeps the first part of what is written to it, and takes the rest,
// so that the writer does not wait.
type beginning struct {
	mu sync.Mutex
	b  []byte
}

func (w *beginning) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p[:min(len(p), maxOutput-len(w.b))]...)
	return len(p), nil
}

func (w *beginning) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}

// clip shortens what a command has said.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	if len(s) <= maxSaid {
		return s
	}
	return strings.ToValidUTF8(s[:maxSaid], "") + "..."
}
