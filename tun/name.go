package tun

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// maxName is the length of the longest name of an interface in bytes:
// IFNAMSIZ less the final zero.
const maxName = 15

// maxUnit is the highest number of an interface, such as the 7 of tun7:
// IF_MAXUNIT in the BSDs' and Apple's <net/if.h>.
const maxUnit = 0x7fff

// CheckName tells whether a tunnel interface can have this name on the system
// that the program runs on. The error shows the right form.
func CheckName(name string) error { return checkName(runtime.GOOS, name) }

// checkName is [CheckName] for any system, so that the rules of all of them
// are tested on each.
func checkName(goos, name string) error {
	driver := driverOf(goos)
	if driver == "" {
		return checkLinuxName(name)
	}
	if _, err := unitOf(driver, name); err != nil {
		return fmt.Errorf("interface name %q: on %s it must be %sN, where N is a number up to %d, such as %s0",
			name, goos, driver, maxUnit, driver)
	}
	return nil
}

// driverOf returns what the names of a system's tunnel interfaces begin with;
// a number follows. It is empty where they can have any name.
func driverOf(goos string) string {
	switch goos {
	case "darwin", "ios":
		return "utun"
	case "dragonfly", "freebsd", "netbsd", "openbsd":
		return "tun"
	}
	return ""
}

// unitOf returns the number at the end of a name.
func unitOf(driver, name string) (int, error) {
	digits, ok := strings.CutPrefix(name, driver)
	unit, err := strconv.ParseUint(digits, 10, 15)
	if !ok || err != nil || strconv.FormatUint(unit, 10) != digits {
		return 0, fmt.Errorf("%q is not %s and a number", name, driver)
	}
	return int(unit), nil
}

// checkLinuxName has the rules of the Linux kernel (dev_valid_name, and those
// of net.ipv4.conf, which has a directory for each interface).
func checkLinuxName(name string) error {
	var why string
	switch {
	case name == "":
		why = "is empty"
	case len(name) > maxName:
		why = fmt.Sprintf("has %d bytes", len(name))
	case name == "." || name == ".." || name == "all" || name == "default":
		why = "means something else to the kernel"
	case strings.Contains(name, "%"):
		why = "has a %, which makes it a pattern"
	case hasByte(name, "/:\x00"):
		why = "has a slash, a colon or a zero"
	case hasByte(name, " \t\n\v\f\r\xa0"):
		why = "has white space"
	default:
		return nil
	}
	return fmt.Errorf("interface name %q %s: it must have 1 to %d bytes, none of them a slash, a colon, a percent sign or white space", name, why, maxName)
}

// hasByte looks for bytes, not for characters, since the kernel does: to it
// every 0xa0 is a space, also as a part of "à".
func hasByte(s, bytes string) bool {
	for i := range len(s) {
		if strings.IndexByte(bytes, s[i]) >= 0 {
			return true
		}
	}
	return false
}
