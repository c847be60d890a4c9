package main

import (
	"errors"
	"flag"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	a, err := parse([]string{"--rounds", "2", "--only=tcp,dsvpn", "--peer-server", "s {port}", "--peer-client", "c {key}"}, io.Discard)
	if err != nil || a.rounds != 2 || a.seconds != 3 || !slices.Equal(a.only, []string{"tcp", "dsvpn"}) || a.peerClient != "c {key}" {
		t.Errorf("parse = %+v, %v", a, err)
	}
	for _, tt := range []struct {
		line string
		want error
	}{
		{"--help", flag.ErrHelp},
		{"--nonsense", errUsage},
		{"more", errUsage},
		{"--rounds 0", errUsage},
		{"--time 0", errUsage},
		{"--time 1.5", errUsage},
		{"--peer-server x", errUsage},
	} {
		var said strings.Builder
		if _, err := parse(strings.Fields(tt.line), &said); !errors.Is(err, tt.want) || !strings.Contains(said.String(), usage) {
			t.Errorf("parse(%s) = %v, want %v; it says\n%s", tt.line, err, tt.want, said.String())
		}
	}
}

func TestChoose(t *testing.T) {
	contenders := []string{"direct", "dsvpn"}
	all := []string{"tcp-up", "tcp-8-up", "tcp-8-down", "udp-64", "udp-640"}
	for _, tt := range []struct{ only, contenders, measurements string }{
		{"", "direct dsvpn", "tcp-up tcp-8-up tcp-8-down udp-64 udp-640"},
		{"dsvpn", "dsvpn", "tcp-up tcp-8-up tcp-8-down udp-64 udp-640"},
		{"tcp-8", "direct dsvpn", "tcp-8-up tcp-8-down"},
		{"udp-64,direct", "direct", "udp-64"},
	} {
		cs, ms, err := choose(strings.FieldsFunc(tt.only, func(r rune) bool { return r == ',' }), contenders, all)
		if err != nil || strings.Join(cs, " ") != tt.contenders || strings.Join(ms, " ") != tt.measurements {
			t.Errorf("--only %s: %v, %v, %v; want %s, %s", tt.only, cs, ms, err, tt.contenders, tt.measurements)
		}
	}
	if _, _, err := choose([]string{"tcp", "upd"}, contenders, all); err == nil || !strings.Contains(err.Error(), "--only upd") {
		t.Errorf("a word that means nothing: %v", err)
	}
}
