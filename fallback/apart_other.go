//go:build !unix

package fallback

import "os/exec"

func setApart(*exec.Cmd) {}
