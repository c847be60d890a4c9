package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// resolvconfTimeout is for a program that runs others: it may restart a name
// server.
const resolvconfTimeout = 30 * time.Second

// recordDirs are where records are kept: by Debian's resolvconf, by openresolv,
// and by openresolv since version 3.13.
var recordDirs = []string{"/run/resolvconf/interface", "/run/resolvconf/interfaces", "/run/resolvconf/keys"}

// findResolvconf looks in the usual places too: the PATH of a user often lacks
// them.
func findResolvconf() (string, error) {
	path, err := exec.LookPath("resolvconf")
	for _, usual := range []string{"/usr/sbin/resolvconf", "/sbin/resolvconf"} {
		if err != nil {
			path, err = exec.LookPath(usual)
		}
	}
	if err != nil {
		return "", errors.New("it is not installed")
	}
	return path, nil
}

// runResolvconf runs resolvconf. It takes no context from its caller: half an
// update is worse than a late end.
func runResolvconf(input string, args ...string) error {
	path, err := findResolvconf()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolvconfTimeout)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &said, &said
	cmd.WaitDelay = time.Second // what it has left running may hold the pipe
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("resolvconf %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

func (s Setting) setResolvconf() (undo func() error, err error) {
	unlock, err := file{ResolvConf}.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	name := record(s.Interface)
	undo = func() error { return deleteRecord(name) }
	if err := runResolvconf(nameServers(s.Servers), addRecord(name)...); err != nil {
		return undo, err
	}
	for _, path := range records(name) {
		if err := hold(path); err != nil {
			return undo, err
		}
	}
	return undo, s.arrived()
}

// arrived tells whether programs ask the first of the name servers now, or a
// service on this host, which then does. resolvconf can have its updates turned
// off, or a file that it takes for somebody else's.
func (s Setting) arrived() error {
	conf, err := os.ReadFile(ResolvConf)
	if err != nil {
		return err
	}
	now := servers(conf)
	if len(now) == 0 || now[0] != s.Servers[0] && !now[0].IsLoopback() {
		return fmt.Errorf("resolvconf succeeded, but %s asks %v", ResolvConf, now)
	}
	return nil
}

func deleteRecord(name string) error {
	for _, path := range records(name) {
		release(path)
	}
	// openresolv fails without -f if there is none; that of Debian looks no further
	// than the name.
	return runResolvconf("", "-d", name, "-f")
}

// ourRecords finds the files of our records.
func ourRecords() (paths []string) {
	for _, dir := range recordDirs {
		found, _ := filepath.Glob(filepath.Join(dir, "*"+recordSuffix))
		paths = append(paths, found...)
	}
	return paths
}

// records finds the files of one record. There should be one, but nobody
// promises that.
func records(name string) []string {
	return slices.DeleteFunc(ourRecords(), func(path string) bool { return filepath.Base(path) != name })
}

// sweepRecords deletes the records that nobody holds.
func sweepRecords() (removed []string, err error) {
	paths := ourRecords()
	if len(paths) == 0 {
		return nil, nil
	}
	unlock, err := file{ResolvConf}.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var errs []error
	for _, path := range paths {
		if held(path) {
			continue
		}
		name := filepath.Base(path)
		errs = append(errs, deleteRecord(name))
		removed = append(removed, "name servers of resolvconf record "+name)
	}
	return removed, errors.Join(errs...)
}
