// Package sysctl reads and writes kernel parameters and remembers what they
// were, so that they can be put back, after a crash too.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// root is where the kernel shows its parameters; those below net are of the
// network namespace of the thread that looks.
const root = "/proc/sys/"

// ErrReadOnly says that a parameter cannot be written here, as in a container
// without privileges.
var ErrReadOnly = errors.New("cannot be written on this host")

// path is where a parameter is. With slashes in the place of dots, as sysctl(8)
// takes them too, names of interfaces may have dots.
func path(name string) string {
	if strings.Contains(name, "/") {
		return root + name
	}
	return root + strings.ReplaceAll(name, ".", "/")
}

// Read is the value of a parameter such as "net.ipv4.ip_forward".
func Read(name string) (string, error) {
	b, err := os.ReadFile(path(name))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// Writable reports whether a parameter can be written, without writing it.
func Writable(name string) bool {
	f, err := os.OpenFile(path(name), os.O_WRONLY, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Write sets a parameter. A read-only one is [ErrReadOnly].
func Write(name, value string) error {
	f, err := os.OpenFile(path(name), os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
