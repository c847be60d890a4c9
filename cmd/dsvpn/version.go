package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker in a release; other builds ask the toolchain.
var version string

// protocol is the version of the wire protocol.
const protocol = 1

func (p *program) version(_ context.Context, args []string) error {
	if _, err := split(args, nil, nil); err != nil {
		return err
	}
	return p.print(fmt.Sprintf("dsvpn %s (DSVPN protocol %d, %s %s/%s)\n",
		buildVersion(), protocol, runtime.Version(), runtime.GOOS, runtime.GOARCH))
}

func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
