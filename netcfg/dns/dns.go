// Package dns sets the name servers of a host for the time of a tunnel and puts
// them back, after a crash too. There are three ways to do it, of which
// [Host.Ways] tells the ones that this host has:
//
//   - systemd-resolved is told over D-Bus. What it is told belongs to the
//     interface and is gone with it, so that a crash leaves nothing behind.
//   - resolvconf, that of Debian or openresolv, gets a record under the name of
//     the interface and ours. It keeps records below /run, where a later process
//     finds it.
//   - /etc/resolv.conf is replaced. What was there before, a file or a symbolic
//     link, stands beside it meanwhile, as /etc/resolv.conf.dsvpn: it must
//     outlast a reboot, since what has replaced it does. Both are in one folder,
//     so that one rename puts back the very same file. One that is a mount point,
//     as in containers, cannot be renamed: it is written in place, and back.
//
// What we have written bears a checksum: what somebody else has changed since is
// theirs, and stays. Whoever has set name servers holds a lock on the file while
// they are needed, which the kernel takes from a process that dies; so a live
// tunnel is told from a dead one also by processes that do not see its interface.
package dns

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// ResolvConf is where programs look for name servers.
const ResolvConf = "/etc/resolv.conf"

// Way is how name servers are set.
type Way string

// The ways, the preferred one first.
const (
	Resolved   Way = "systemd-resolved"
	Resolvconf Way = "resolvconf"
	File       Way = "file"
)

// ErrChanged says that somebody else has changed what we had set. What they have
// made of it stays.
var ErrChanged = errors.New("somebody else has changed it meanwhile: what they made of it stays")

// Host is how a host finds name servers.
type Host struct {
	// Servers are the host's own: neither those that we have set nor a stub
	// that passes queries on, if those behind it are known.
	Servers []netip.Addr
	// Stub is the service on this host that programs ask, if they do.
	Stub netip.Addr
	// Replaced tells that the file is one of ours, from a process that was
	// killed or one that is running.
	Replaced bool
	// InPlace tells that the file is a mount point.
	InPlace bool

	hints string // where the file comes from: its comments, and where it leads
}

// WayFact tells whether a way can be gone on this host.
type WayFact struct {
	Way Way
	Err error // nil: it can
}

// Setting is the name servers that a host is to ask while an interface is up.
type Setting struct {
	Way       Way
	Interface string
	Servers   []netip.Addr
	InPlace   bool // see Host
}

// Object names what is set.
func (s Setting) Object() string {
	if s.Way == File {
		return "in " + ResolvConf
	}
	return fmt.Sprintf("for %s with %s", s.Interface, s.Way)
}

// String is the setting as the commands that a person would type.
func (s Setting) String() string {
	servers := strings.Join(texts(s.Servers), " ")
	list := fmt.Sprintf(`printf 'nameserver %%s\n' %s`, servers)
	switch {
	case s.Way == Resolved:
		return fmt.Sprintf("resolvectl dns %[1]s %[2]s\nresolvectl domain %[1]s '~.'\nresolvectl default-route %[1]s yes", s.Interface, servers)
	case s.Way == Resolvconf:
		return fmt.Sprintf("%s | resolvconf %s", list, strings.Join(addRecord(record(s.Interface)), " "))
	case s.InPlace:
		return fmt.Sprintf("cp %[1]s %[1]s%[2]s\n%[3]s >%[1]s", ResolvConf, formerSuffix, list)
	}
	return fmt.Sprintf("cp -a %[1]s %[1]s%[2]s\n%[4]s >%[1]s%[3]s\nmv %[1]s%[3]s %[1]s", ResolvConf, formerSuffix, nextSuffix, list)
}

func texts(addrs []netip.Addr) (all []string) {
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all
}

// recordSuffix is what our records of resolvconf end with.
const recordSuffix = ".dsvpn"

// record is the name of the record for an interface. Debian's resolvconf sorts
// records by their names, and those that begin with tun to the front.
func record(iface string) string {
	if !strings.HasPrefix(iface, "tun") {
		iface = "tun." + iface
	}
	return iface + recordSuffix
}

// addRecord is the arguments that add a record. openresolv puts it first (-m 0)
// and leaves out all the others (-x); that of Debian knows neither and does not
// mind.
func addRecord(name string) []string { return []string{"-a", name, "-m", "0", "-x"} }

// servers reads the name servers from a resolv.conf(5). What cannot be
// understood, programs do not understand either.
func servers(conf []byte) (addrs []netip.Addr) {
	for line := range strings.Lines(string(conf)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			addrs = append(addrs, a.Unmap())
		}
	}
	return addrs
}

// comments are those of a resolv.conf(5): programs that write one say so there.
func comments(conf []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(conf)) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// nameServers are the lines of a resolv.conf(5) for name servers.
func nameServers(addrs []netip.Addr) string {
	return "nameserver " + strings.Join(texts(addrs), "\nnameserver ") + "\n"
}

// mark begins the first line of a file of ours. The checksum of all the lines
// below ends it.
const mark = "# dsvpn "

// render is the file for a setting.
func (s Setting) render() []byte {
	text := fmt.Appendf(nil, "# These name servers are for the time that %[1]s is up. What was here before is in\n"+
		"# %[2]s%[3]s. It comes back when the tunnel ends, or with: dsvpn cleanup\n%[4]s",
		s.Interface, ResolvConf, formerSuffix, nameServers(s.Servers))
	return append(fmt.Appendf(nil, "%s%s\n", mark, checksum(text)), text...)
}

// isOurs reports whether a file is as we have written it.
func isOurs(conf []byte) bool {
	first, rest, _ := bytes.Cut(conf, []byte("\n"))
	return string(first) == mark+checksum(rest)
}

func checksum(text []byte) string {
	sum := sha256.Sum256(text)
	return fmt.Sprintf("%x", sum[:8])
}

const (
	formerSuffix = ".dsvpn"     // of the file with what was there before
	nextSuffix   = ".dsvpn-new" // of what is about to take the place of another file
)
