//go:build linux

package ipt

import (
	"errors"
	"strings"

	"dsvpn/netcfg/firewall"
)

// BesideLegacy is a firewall that programs nftables, on hosts where there may
// be rules of the older packet filter too: its guests are there as well.
func BesideLegacy(fw firewall.Firewall) firewall.Firewall { return beside{fw} }

type beside struct{ firewall.Firewall }

func (b beside) Install(p firewall.Policy) error {
	if err := b.Firewall.Install(p); err != nil {
		return err
	}
	if err := (legacy{}).Install(p); err != nil {
		return errors.Join(err, b.Remove(p.Interface))
	}
	return nil
}

func (b beside) Intact(p firewall.Policy) (bool, error) {
	if intact, err := b.Firewall.Intact(p); !intact || err != nil {
		return false, err
	}
	return legacy{}.Intact(p)
}

func (b beside) Remove(iface string) error {
	return errors.Join(legacy{}.Remove(iface), b.Firewall.Remove(iface))
}

func (b beside) Neighbours() ([]firewall.Chain, error) {
	chains, err := b.Firewall.Neighbours()
	older, errOlder := legacy{}.Neighbours()
	return append(chains, older...), errors.Join(err, errOlder)
}

func (b beside) Script(p firewall.Policy, chains []firewall.Chain) string {
	return strings.Join(append([]string{b.Firewall.Script(p, chains)}, legacy{}.Script(p, chains)...), "\n")
}
