//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package netcfg

import (
	"errors"
	"os"
)

func lockFile(*os.File) error        { return errors.ErrUnsupported }
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
