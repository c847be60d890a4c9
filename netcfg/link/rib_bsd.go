//go:build darwin || dragonfly || freebsd || netbsd

package link

import (
	"runtime"
	"syscall"

	"golang.org/x/net/route"
)

// flagScoped is RTF_IFSCOPE of macOS; the others have no such routes.
var flagScoped = map[string]int{"darwin": 0x1000000}[runtime.GOOS]

// fetchRIB returns the routes of both families as the kernel lists them.
func fetchRIB() ([]byte, error) { return route.FetchRIB(syscall.AF_UNSPEC, route.RIBTypeRoute, 0) }
