package dns

import (
	"errors"
	"fmt"
)

// Set sets name servers. The undo may be there with an error too.
func (s Setting) Set() (undo func() error, err error) {
	switch s.Way {
	case Resolved:
		return s.setResolved()
	case Resolvconf:
		return s.setResolvconf()
	case File:
		f := file{ResolvConf}
		if err := f.replace(s.render()); err != nil {
			return nil, err
		}
		return f.putBack, nil
	}
	return nil, fmt.Errorf("unknown way %q", s.Way)
}

// Mend sets name servers again where somebody, such as a DHCP client on another
// network, has written a file of their own: that is the one that comes back in
// the end. The other two ways know several sources of name servers and keep ours.
func (s Setting) Mend() (missing bool, err error) {
	if s.Way != File {
		return false, nil
	}
	f := file{ResolvConf}
	if ours, err := f.ours(); ours || err != nil {
		return false, err
	}
	return true, f.replace(s.render())
}

// Sweep puts back what processes that were killed have set, and says what that
// was. With keepFile, the file of ours stays, since a new one will take its
// place.
func Sweep(keepFile bool) (removed []string, err error) {
	removed, err = sweepRecords()
	if keepFile {
		return removed, err
	}
	found, fileErr := file{ResolvConf}.sweep()
	switch {
	case errors.Is(fileErr, ErrChanged):
		return append(removed, "what was kept of "+ResolvConf+" ("+fileErr.Error()+")"), err
	case fileErr != nil:
		return removed, errors.Join(err, fmt.Errorf("%s: %w", ResolvConf, fileErr))
	case found:
		removed = append(removed, "name servers in "+ResolvConf)
	}
	return removed, err
}
