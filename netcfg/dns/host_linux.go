package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// upstreams is where systemd-resolved tells which name servers it asks.
const upstreams = "/run/systemd/resolve/resolv.conf"

// stubs are the addresses that systemd-resolved itself answers on.
var stubs = []netip.Addr{netip.MustParseAddr("127.0.0.53"), netip.MustParseAddr("127.0.0.54")}

// Read reads how this host finds name servers.
func Read() Host { return file{ResolvConf}.read() }

// read takes a file that is missing, or cannot be read, for an empty one, as
// programs do.
func (f file) read() Host {
	var h Host
	conf, _ := os.ReadFile(f.path)
	from := f.path
	if isOurs(conf) {
		h.Replaced = true
		from = f.former()
		conf, _ = os.ReadFile(from)
	}
	target, _ := os.Readlink(from)
	h.InPlace = f.isMount()
	h.hints = target + "\n" + comments(conf)
	h.Servers = servers(conf)
	if len(h.Servers) == 0 || !h.Servers[0].IsLoopback() {
		return h
	}
	h.Stub = h.Servers[0]
	if h.asksResolved() {
		if behind, err := os.ReadFile(upstreams); err == nil {
			h.Servers = servers(behind)
		}
	}
	return h
}

// asksResolved reports whether programs ask the stub of systemd-resolved.
func (h Host) asksResolved() bool { return slices.Contains(stubs, h.Stub) }

// Ways tells which ways there are, the preferred one first. It changes nothing.
func (h Host) Ways() []WayFact {
	return []WayFact{{Resolved, h.canResolved()}, {Resolvconf, h.canResolvconf()}, {File, file{ResolvConf}.can()}}
}

// canResolved finds out whether to ask systemd-resolved. It may run without
// anybody asking it, and then it is of no use to tell it anything.
func (h Host) canResolved() error {
	if !h.asksResolved() {
		return fmt.Errorf("%s does not lead to it", ResolvConf)
	}
	return probeResolved()
}

func (h Host) canResolvconf() error {
	path, err := findResolvconf()
	if err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Base(target) == "resolvectl" {
		return errors.New("it is a part of systemd-resolved")
	}
	_, err = os.Lstat(ResolvConf)
	if missing := errors.Is(err, fs.ErrNotExist); !missing && !strings.Contains(h.hints, "resolvconf") {
		return fmt.Errorf("%s is not made by it", ResolvConf)
	}
	return nil
}

// can finds out whether the file can be replaced, or written in place.
func (f file) can() error {
	if err := unix.Access(filepath.Dir(f.path), unix.W_OK); err != nil {
		return &os.PathError{Op: "write to", Path: filepath.Dir(f.path), Err: err}
	}
	if f.isMount() {
		if err := unix.Access(f.path, unix.W_OK); err != nil {
			return &os.PathError{Op: "write", Path: f.path, Err: err}
		}
	}
	return nil
}

// isMount reports whether the file is a mount point, which cannot be renamed.
// Kernels before Linux 5.8 do not tell.
func (f file) isMount() bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, f.path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	return err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}
