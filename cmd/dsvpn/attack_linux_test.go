package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Under attack a client's session goes on, and the server is the same
// afterwards. The table that this test logs is in the README.
func TestAttack(t *testing.T) {
	t.Parallel()
	s := newSiege(t)
	client := startClient(t, s.tr)
	s.wantSession(t, client)
	calm := attack{name: "none", run: func(testing.TB, *siege) int {
		time.Sleep(3 * time.Second)
		return 0
	}}
	quiet := s.under(t, client, calm)
	all := []*toll{quiet}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			toll := s.under(t, client, a)
			all = append(all, toll)
			toll.wantNone(t, quiet.before)
		})
	}
	t.Log(tolls(all))
}

// What an attack without the key may cost a server for good.
const (
	// memorySlack, in MB: the attacks make 25,000 connections, and 1 kB that
	// each leaves behind is more. The heap of a Go program may double before
	// it is looked through, and that of a server is 5 MB with the buffers of
	// its session.
	memorySlack = 16
	// keyedMemorySlack: the session of an intruder has buffers of half a
	// megabyte, some that wait for it may be there at a time, and again the
	// heap may double.
	keyedMemorySlack = 48
	// logSlack is in lines. It must not depend on the number of inputs.
	logSlack = 30
	// threadSlack: a Go program keeps all threads that it ever had, and has a
	// new one when others are in a system call that takes long. A thread for
	// each connection would be thousands.
	threadSlack = 8
)

// toll is what an attack took.
type toll struct {
	attack
	inputs        int
	before, after weight
	load          *load
	sessions      int // that were established meanwhile
}

// weight is what a server takes of its host.
type weight struct {
	descriptors, threads int
	memory               float64 // resident, in MB
	lines                int     // of log
}

func (s *siege) weigh(t testing.TB) weight {
	t.Helper()
	return weight{
		s.server.descriptors(t), s.server.threads(t), memory(t, s.server, "VmRSS"),
		strings.Count(s.server.log.String(), "\n"),
	}
}

// under runs an attack while a client has things to do. When it returns, what
// the client sent has come back, and all connections of the attack are over.
func (s *siege) under(t testing.TB, client *process, a attack) *toll {
	t.Helper()
	established := s.server.log.count("Session established")
	r := &toll{attack: a, before: s.weigh(t)}
	r.load = startLoad(t, s.tr.client)
	r.inputs = a.run(t, s)
	s.wantSession(t, client)
	r.load.flows(t)
	r.load.end(t)
	eventually(t, fmt.Sprintf("the server has %d descriptors again", r.before.descriptors), func() bool {
		return s.server.descriptors(t) <= r.before.descriptors
	})
	r.after = s.weigh(t)
	r.sessions = s.server.log.count("Session established") - established
	return r
}

// wantNone fails the test if the client was disturbed, or the server bears
// marks of this attack, and of all before it.
func (r *toll) wantNone(t testing.TB, start weight) {
	t.Helper()
	slack := float64(memorySlack)
	if r.key {
		slack = keyedMemorySlack
	}
	if more := r.after.memory - start.memory; more > slack && !raceDetector() {
		t.Errorf("the server takes %.1f MB more than before", more)
	}
	if more := r.after.threads - start.threads; more > threadSlack {
		t.Errorf("the server has %d threads more than before", more)
	}
	if more := r.after.lines - r.before.lines; more > logSlack && !r.key {
		t.Errorf("%d attacks make %d lines of log", r.inputs, more)
	}
	switch {
	case r.key && r.sessions < 2:
		t.Error("the attack never had the session")
	case !r.key && r.sessions > 0:
		t.Error("the client's session was interrupted")
	}
}

// wantSession waits until the client is the one who has the session.
func (s *siege) wantSession(t testing.TB, client *process) {
	t.Helper()
	const established = "Session established"
	eventually(t, "the client has the session", func() bool {
		log := s.server.log.String()
		last := max(strings.LastIndex(log, established), 0)
		return strings.HasPrefix(log[last:], established+" remote="+clientIP) &&
			client.log.count("Connected") == client.log.count("session ended")+1
	})
}

// tolls makes a table in Markdown, of which the first row is the quiet before.
// Pings are given as what they took longer than in quiet. While an intruder has
// the session there are none, so of those only the silence counts.
func tolls(all []*toll) string {
	quiet := all[0].load
	var b strings.Builder
	fmt.Fprintln(&b, "\n| attack | inputs | descriptors | memory, MB | log lines | transfer | ping, ms: median; 99 % | longest silence, ms |")
	fmt.Fprintln(&b, "| --- | ---: | --- | --- | ---: | --- | --- | ---: |")
	for _, r := range all {
		transfer := fmt.Sprintf("intact, %.0f Mb/s", r.load.rate())
		ping := func(p float64) float64 { return r.load.percentile(p).Seconds() * 1000 }
		pings := fmt.Sprintf("%+.1f; %+.1f", ping(0.5)-quiet.percentile(0.5).Seconds()*1000, ping(0.99)-quiet.percentile(0.99).Seconds()*1000)
		switch {
		case r.load == quiet:
			pings = fmt.Sprintf("%.1f; %.1f", ping(0.5), ping(0.99))
		case r.key:
			transfer, pings = "intact", ""
		}
		fmt.Fprintf(&b, "| %s | %d | %d → %d | %.1f → %.1f | %d | %s | %s | %d |\n",
			r.name, r.inputs, r.before.descriptors, r.after.descriptors, r.before.memory, r.after.memory,
			r.after.lines-r.before.lines, transfer, pings, r.load.gap.Milliseconds())
	}
	return b.String()
}
