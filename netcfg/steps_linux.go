package netcfg

import (
	"errors"

	"dsvpn/netcfg/link"
	"dsvpn/netcfg/sysctl"
)

func (s SetSysctl) do() (undo func() error, err error) {
	return sysctl.NewStore(s.StateDir).Set(s.Name, s.Value, s.Holder)
}

func (s InstallFirewall) do() (undo func() error, err error) {
	fw := firewalls[s.Kind]
	if err := fw.Install(s.Policy); err != nil {
		return nil, err
	}
	return func() error { return fw.Remove(s.Policy.Interface) }, nil
}

// do adds the address. One that is there already, as on an interface that an
// administrator has prepared, is left there afterwards too.
func (s AddAddress) do() (undo func() error, err error) {
	switch err := s.Add(); {
	case errors.Is(err, link.ErrExists):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return s.Delete, nil
}

func (s SetUp) do() (undo func() error, err error) {
	was, err := link.SetUp(s.Interface)
	if err != nil || was {
		return nil, err
	}
	return func() error { return link.SetDown(s.Interface) }, nil
}

func (s AddRoute) do() (undo func() error, err error) { return adopt(s.Add(), s.Delete) }

func (s AddRule) do() (undo func() error, err error) { return adopt(s.Add(), s.Delete) }

func (s SetDNS) do() (undo func() error, err error) { return s.Set() }

// adopt takes a thing that bears our mark and is there already for our own: a
// former life of this program has left it. So it is never away while a new
// life begins, and goes when that ends.
func adopt(err error, remove func() error) (func() error, error) {
	if err != nil && !errors.Is(err, link.ErrExists) {
		return nil, err
	}
	return remove, nil
}

func (s AddAddress) mend() (bool, error) { return missing(s.Add()) }

func (s AddRoute) mend() (bool, error) { return missing(s.Add()) }

func (s AddRule) mend() (bool, error) { return missing(s.Add()) }

func (s InstallFirewall) mend() (bool, error) {
	fw := firewalls[s.Kind]
	if intact, err := fw.Intact(s.Policy); intact || err != nil {
		return false, err
	}
	return true, fw.Install(s.Policy)
}

// missing tells from the answer to adding a thing whether it was missing.
func missing(err error) (bool, error) {
	if errors.Is(err, link.ErrExists) {
		return false, nil
	}
	return err == nil, err
}

func (s SetDNS) mend() (bool, error) { return s.Mend() }

func (s SetUp) mend() (bool, error) {
	was, err := link.SetUp(s.Interface)
	return err == nil && !was, err
}
