package fallback

import (
	"errors"
	"fmt"
	"strings"
)

// The variables of templates.
const (
	IfName       = "IF_NAME"        // the tunnel interface
	LocalTunIP   = "LOCAL_TUN_IP"   // the IPv4 address of this end
	RemoteTunIP  = "REMOTE_TUN_IP"  // and of the other end
	LocalTunIP6  = "LOCAL_TUN_IP6"  // the same for IPv6
	RemoteTunIP6 = "REMOTE_TUN_IP6" //
	ExtIP        = "EXT_IP"         // an address of the server
	ExtPort      = "EXT_PORT"       // its port
	ExtIfName    = "EXT_IF_NAME"    // the interface that leads to the internet
	ExtGwIP      = "EXT_GW_IP"      // the router on the way to the server
)

// Vars are the values of variables, by name. One that is empty counts as
// missing.
type Vars map[string]string

// Expand makes the arguments of a command from a template: words with blanks
// between them, in which $NAME stands for the value of a variable. A value is
// never split and never expanded again. It is an error if a variable has no
// value, if a value would be taken for an option, since it begins with a hyphen
// and stands at the beginning of a word, or if it has a zero byte.
func Expand(template string, vars Vars) ([]string, error) {
	words := strings.Fields(template)
	for i, word := range words {
		value, err := vars.replace(word)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", template, err)
		case strings.HasPrefix(value, "-") && !strings.HasPrefix(word, "-"):
			return nil, fmt.Errorf("%s: %q would be an option", template, value)
		case strings.ContainsRune(value, 0):
			return nil, fmt.Errorf("%s: %q has a zero byte", template, value)
		}
		words[i] = value
	}
	return words, nil
}

// expandText makes one line of another program's language. What that means by
// blanks and signs is its own affair, so a value may only have what names of
// interfaces and addresses are made of.
func expandText(template string, vars Vars) (string, error) {
	odd := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:%_-", r)
	}
	for name, value := range vars {
		if strings.Contains(template, "$"+name) && strings.ContainsFunc(value, odd) {
			return "", fmt.Errorf("%s: %q is neither an address nor the name of an interface", template, value)
		}
	}
	text, err := vars.replace(template)
	if err != nil {
		return "", fmt.Errorf("%s: %w", template, err)
	}
	return text, nil
}

// replace puts in the values of variables.
func (v Vars) replace(s string) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name := after[:len(after)-len(strings.TrimLeft(after, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"))]
		if name == "" {
			return "", errors.New("a $ without the name of a variable")
		}
		value := v[name]
		if value == "" {
			return "", fmt.Errorf("$%s has no value", name)
		}
		b.WriteString(value)
		s = after[len(name):]
	}
}
