package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"dsvpn/netcfg"
)

// harden keeps the memory of the process, and so the key, from others: it is
// in no core dump, and processes of the same user can neither trace this one
// nor read its memory. What it executes cannot gain privileges, as by a
// set-user-ID bit.
//
// It does not keep the key from root, from swap and from hibernation. Nor is
// everything wiped that a key has ever passed through: the text in the variable
// DSVPN_KEY is the system's, and when the runtime moves the stack of a
// goroutine it leaves the old one as it was.
func (p *program) harden(o options) {
	if o.Sandbox == sandboxOff {
		return
	}
	_, err := cap.Prctlw(unix.PR_SET_NO_NEW_PRIVS, 1)
	err = errors.Join(os.NewSyscallError("set PR_SET_NO_NEW_PRIVS", err),
		os.NewSyscallError("set PR_SET_DUMPABLE", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)),
		// A program that is executed may be dumped again, but for this.
		os.NewSyscallError("set RLIMIT_CORE", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})))
	if err != nil {
		p.log.Warn("memory is not kept from core dumps and other processes", "err", err)
	}
}

// dropCapabilities gives up all capabilities but those that are needed, in all
// threads and for good. CAP_NET_ADMIN is for marking new connections, repairs
// and putting the host back. CAP_SETPCAP is what [program.restrict] begins with.
func (p *program) dropCapabilities(o options, needs netcfg.Needs) {
	if o.Sandbox == sandboxOff {
		return
	}
	if err := keep(append(needed(needs), cap.SETPCAP), cap.NET_ADMIN, cap.SETPCAP); err != nil {
		p.log.Warn("capabilities are not given up", "err", err)
	}
}

// needed are the capabilities that this process and its children may have.
func needed(needs netcfg.Needs) (kept []cap.Value) {
	switch {
	case needs.Hooks:
		for v := range cap.MaxBits() {
			kept = append(kept, v)
		}
		return kept
	case needs.Iptables:
		return []cap.Value{cap.NET_ADMIN, cap.NET_RAW}
	}
	return []cap.Value{cap.NET_ADMIN}
}

// keep leaves this process, of the capabilities that it has, those in kept and
// lets it use some of them. A child of root can use all that its parent has,
// one of another user what is ambient, which goes with the rest.
func keep(kept []cap.Value, used ...cap.Value) error {
	own, left := cap.GetProc(), cap.NewSet()
	var errs []error
	for _, v := range kept {
		for _, flag := range []cap.Flag{cap.Permitted, cap.Inheritable, cap.Effective} {
			has, err := own.GetFlag(flag, v)
			has = has && (flag != cap.Effective || slices.Contains(used, v))
			errs = append(errs, err, left.SetFlag(flag, has, v))
		}
	}
	return errors.Join(append(errs, os.NewSyscallError("capset", left.SetProc()))...)
}

// bound takes all capabilities but those in kept from the bounding set, the
// most that any program can get that is executed. It is a second wall behind
// no_new_privs. A process without CAP_SETPCAP cannot do it, and others have
// done it mostly, such as a container runtime.
func bound(ctx context.Context, kept []cap.Value) error {
	if may, err := cap.GetProc().GetFlag(cap.Effective, cap.SETPCAP); !may || err != nil {
		return err
	}
	for v := range cap.MaxBits() {
		if ctx.Err() != nil {
			return nil
		}
		there, err := cap.GetBound(v)
		if err == nil && there && !slices.Contains(kept, v) {
			err = cap.DropBound(v)
		}
		if err != nil {
			return fmt.Errorf("drop %v from the bounding set: %w", v, err)
		}
	}
	return nil
}

// restrict gives up the rest, while others do the program's work already: it
// stops all threads for a moment some forty times, which would add a tenth to
// the time that a start takes. In the end it says what is left, unless ctx is
// done by then.
func (p *program) restrict(ctx context.Context, o options, needs netcfg.Needs) {
	if o.Sandbox == sandboxOff {
		p.log.Info("not confined (--sandbox off)")
		return
	}
	kept := needed(needs)
	err := bound(ctx, kept)
	if err = errors.Join(err, keep(kept, cap.NET_ADMIN)); err != nil {
		p.log.Warn("not all capabilities are given up", "err", err)
	}
	if ctx.Err() != nil {
		return
	}
	log := p.log.With("capabilities", cap.GetProc().String())
	if needs.Hooks {
		log.Info("confined but for children: resolvconf runs the host's hooks, which may need anything")
		return
	}
	if version, err := ll.LandlockGetABIVersion(); err != nil || version < 1 {
		log.Info("confined but for files: this kernel has no Landlock, or does not use it")
		return
	}
	a := accessFor(needs)
	if err := handled.RestrictPaths(a.rules()...); err != nil {
		log.Warn("confined but for files", "err", err)
		return
	}
	log.Info("confined", "reads", a.reads, "writes", a.writes, "executes", a.executes)
}

// programDirs are where programs and what they load are, besides the folders in
// PATH. The last two are those of systems that keep each package apart.
var programDirs = []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/nix/store", "/gnu/store"}

// handled is what Landlock is to restrict, of what its versions up to the fifth
// can: files. Ports are left alone, since its rules for TCP do not apply to
// MPTCP, and so would keep nobody from anything. The scopes of later versions
// are too, since the bus and the service manager may have abstract sockets.
var handled = landlock.V5.BestEffort()

// access is the folders that a process may use, with all that is in them.
// Folders where a file would do: others replace such files, and a rule for the
// old one says nothing of the new one.
type access struct {
	reads    []string
	executes []string // and reads
	writes   []string // and reads
	makes    []string // where it makes and removes folders
}

func accessFor(needs netcfg.Needs) access {
	a := access{
		// Names of servers are looked up as the files in /etc say, which may
		// lead elsewhere.
		reads:  []string{"/etc", "/proc", "/run", "/nix/store", "/gnu/store"},
		writes: slices.Concat(needs.Writes, []string{needs.StateDir}),
		makes:  []string{filepath.Dir(needs.StateDir)},
	}
	if conf, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		a.reads = append(a.reads, filepath.Dir(conf))
	}
	if needs.Iptables {
		a.executes = slices.Concat(programDirs, filepath.SplitList(os.Getenv("PATH")))
	}
	return access{folders(a.reads), folders(a.executes), folders(a.writes), folders(a.makes)}
}

// folders returns those of the paths that are folders that can be reached.
func folders(paths []string) (there []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() && !slices.Contains(there, path) {
			there = append(there, path)
		}
	}
	return there
}

func (a access) rules() []landlock.Rule {
	return []landlock.Rule{
		landlock.PathAccess(ll.AccessFSReadFile|ll.AccessFSReadDir, a.reads...),
		landlock.RODirs(a.executes...),
		landlock.RWDirs(a.writes...),
		landlock.PathAccess(ll.AccessFSMakeDir|ll.AccessFSRemoveDir, a.makes...),
		landlock.RWFiles("/dev/null").IgnoreIfMissing(), // the input of children
	}
}
