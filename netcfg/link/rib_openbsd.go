package link

import (
	"errors"
	"os"
	"syscall"
	_ "unsafe" // for go:linkname
)

const flagScoped = 0 // OpenBSD has no such routes

// fetchRIB returns the routes of both families, in the main routing table, as
// the kernel lists them. route.FetchRIB would not do: it leaves the number of
// the table out, and a process under pledge(2) that asks so is killed
// (pledge_sysctl in sys/kern/kern_pledge.c wants seven numbers).
func fetchRIB() ([]byte, error) {
	const mainTable = 0
	mib := []int32{syscall.CTL_NET, syscall.AF_ROUTE, 0, syscall.AF_UNSPEC, syscall.NET_RT_DUMP, 0, mainTable}
	for range 3 { // the table may grow between the question how long it is and the next
		var n uintptr
		if err := sysctl(mib, nil, &n, nil, 0); err != nil {
			return nil, os.NewSyscallError("sysctl", err)
		}
		if n == 0 {
			return nil, nil
		}
		b := make([]byte, n)
		err := sysctl(mib, &b[0], &n, nil, 0)
		if err == nil {
			return b[:n], nil
		}
		if !errors.Is(err, syscall.ENOMEM) {
			return nil, os.NewSyscallError("sysctl", err)
		}
	}
	return nil, os.NewSyscallError("sysctl", syscall.ENOMEM)
}

// sysctl is that of package syscall, which lets golang.org/x/net/route have it
// in this way, too.
//
//go:linkname sysctl syscall.sysctl
func sysctl(mib []int32, old *byte, oldlen *uintptr, new *byte, newlen uintptr) error
