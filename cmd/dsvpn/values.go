package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dsvpn/fallback"
	"dsvpn/netcfg"
	"dsvpn/tun"
)

// Each function here turns one word into one value. Its error says what is
// allowed; the caller puts the name and the value in front of it.

// anything takes every value as it is.
func anything(s string) (string, error) { return s, nil }

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off":
		return false, nil
	}
	return false, errors.New("must be true or false")
}

// number accepts decimal and, as marks are written, 0x and hexadecimal. A
// leading zero does not mean octal.
func number[T int | uint16 | uint32](least, most uint64) func(string) (T, error) {
	return func(s string) (T, error) {
		digits, base := s, 10
		if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
			digits, base = hex, 16
		}
		n, err := strconv.ParseUint(digits, base, 64)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("must be a number from %d to %d", least, most)
		}
		return T(n), nil
	}
}

// duration accepts what Go does, and bare seconds.
func duration(least, most time.Duration) func(string) (time.Duration, error) {
	return func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil {
			d, err = time.ParseDuration(s + "s")
		}
		if err != nil || d < least || d > most {
			return 0, fmt.Errorf("must be a time from %v to %v, such as 30s", least, most)
		}
		return d, nil
	}
}

func oneOf[T ~string](allowed ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		if slices.Contains(allowed, T(s)) {
			return T(s), nil
		}
		return "", fmt.Errorf("must be one of %v", allowed)
	}
}

// parsePort accepts a number and, as the C program does, the name of a
// service, such as https.
func parsePort(s string) (uint16, error) {
	port, err := number[uint16](1, 65535)(s)
	if err == nil || s[0] < 'a' || s[0] > 'z' {
		return port, err
	}
	services := net.Resolver{PreferGo: true} // the file, and nobody on the network
	n, lookupErr := services.LookupPort(context.Background(), "tcp", s)
	if lookupErr != nil || n < 1 || n > 65535 {
		return 0, err
	}
	return uint16(n), nil
}

// parseTable refuses the tables of the kernel: our default route in one of
// them would be everybody's.
func parseTable(s string) (int, error) {
	n, err := number[int](1, maxTable)(s)
	if err != nil {
		return 0, err
	}
	const kernelDefault, kernelLocal = 253, 255 // main is between them
	if n >= kernelDefault && n <= kernelLocal {
		return 0, fmt.Errorf("tables %d to %d are the kernel's own: take another", kernelDefault, kernelLocal)
	}
	return n, nil
}

func parseTunnelAddr(s string) (netip.Addr, error) {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == broadcast {
		return netip.Addr{}, errors.New("must be the IPv4 address of one host, such as 192.168.192.1")
	}
	return a, nil
}

// parseNameServer accepts what any program on the host can be told to ask, so
// no zone, and none of our addresses that mean something else.
func parseNameServer(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}, errors.New("must be IP addresses of name servers, with commas between them")
	}
	return a, nil
}

// parsePrefix6 wants exactly the 96 bits that an IPv4 address leaves free.
func parsePrefix6(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Bits() != 96 || p.Addr().Is4In6() || p.Masked().Addr().IsUnspecified() || p.Addr().IsMulticast() {
		return netip.Prefix{}, fmt.Errorf("must be an IPv6 prefix of 96 bits, such as %s", netcfg.DefaultPrefix6)
	}
	return p.Masked(), nil
}

// parsePrefixes accepts networks and single addresses, with commas between.
func parsePrefixes(s string) (all []netip.Prefix, err error) {
	for _, word := range strings.Split(s, ",") {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if a, addrErr := netip.ParseAddr(word); addrErr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, errors.New("must be networks such as 192.168.0.0/16 or addresses, with commas between")
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// parseHost accepts an address, in brackets or not, and the name of a host.
// It takes the brackets off. Whether the name exists is found out later.
func parseHost(s string) (string, error) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		if !closed || !isAddr(inner) || !strings.Contains(inner, ":") {
			return "", errors.New("is not an IPv6 address in brackets")
		}
		return inner, nil
	}
	switch {
	case isAddr(s):
		return s, nil
	case strings.Trim(s, "0123456789.") == "":
		return "", errors.New("is not an IP address")
	case strings.Contains(s, ":"):
		return "", errors.New("is neither an IP address nor the name of a host; a port is a word of its own")
	case len(s) > 253 || strings.ContainsFunc(s, notInHostName):
		return "", errors.New("is neither an IP address nor the name of a host")
	}
	return s, nil
}

// isAddr looks at the zone as well, which netip takes as it is.
func isAddr(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && !strings.ContainsFunc(a.Zone(), notInHostName)
}

func notInHostName(r rune) bool {
	return !unicode.IsPrint(r) || r == utf8.RuneError || strings.ContainsRune(" /@%[]", r)
}

// parseListen accepts HOST:PORT; without HOST it means all addresses of this
// host.
func parseListen(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil && host != "" {
		_, err = parseHost(host)
	}
	if err == nil {
		_, err = number[uint16](1, 65535)(port)
	}
	if err != nil {
		return "", errors.New("must be an address and a port, such as 127.0.0.1:8080 or :8080")
	}
	return s, nil
}

// parseSystem accepts a system that is set up with commands.
func parseSystem(s string) (string, error) {
	if _, ok := fallback.For(s); ok {
		return s, nil
	}
	var names []string
	for _, sys := range fallback.Systems {
		names = append(names, sys.Name)
	}
	return "", fmt.Errorf("must be one of %v", names)
}

func parseInterface(s string) (string, error) { return s, tun.CheckName(s) }

// noCongestion is how to say that the host's algorithm stays.
const noCongestion = "none"

// parseCongestion does not know which algorithms this kernel has, only what
// a name of one looks like.
func parseCongestion(s string) (string, error) {
	const maxName = 15 // TCP_CA_NAME_MAX without the terminating zero
	odd := func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_-", r) }
	switch {
	case s == noCongestion:
		return "", nil
	case len(s) > maxName || strings.ContainsFunc(s, odd):
		return "", fmt.Errorf("must be the name of an algorithm, such as bbr or cubic, or %s", noCongestion)
	}
	return s, nil
}

func parseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	}
	return 0, errors.New("must be one of [debug info warn error]")
}
