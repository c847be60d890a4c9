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
	all := []*toll{s.under(t, client, calm)}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			toll := s.under(t, client, a)
			all = append(all, toll)
			toll.wantNone(t)
		})
	}
	t.Log(tolls(all))
}

// What an attack without the key may cost a server for good.
const (
	// memorySlack, in MB: 10,000 connections that leave 2 kB each behind take
	// more. The heap of a Go program may double before it is looked through,
	// and that of a server is 5 MB with the buffers of its session.
	memorySlack = 16
	// keyedMemorySlack: each session of an intruder has buffers of half a
	// megabyte.
	keyedMemorySlack = 64
	// logSlack is in lines. It must not depend on the number of inputs.
	logSlack = 30
	// threadSlack: a Go program keeps all threads that it ever had, and has a
	// new one when others are in a system call that takes long.
	threadSlack = 8
)

// toll is what an attack took.
type toll struct {
	attack
	inputs        int
	took          time.Duration
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
	begin := time.Now()
	r.inputs = a.run(t, s)
	r.took = time.Since(begin)
	s.wantSession(t, client)
	r.load.flows(t)
	r.load.end(t)
	eventually(t, fmt.Sprintf("the server has %d descriptors again", r.before.descriptors), func() bool {
		return s.server.descriptors(t) == r.before.descriptors
	})
	r.after = s.weigh(t)
	r.sessions = s.server.log.count("Session established") - established
	return r
}

// wantNone fails the test if the server bears marks of the attack.
func (r *toll) wantNone(t testing.TB) {
	t.Helper()
	slack := float64(memorySlack)
	if r.key {
		slack = keyedMemorySlack
	}
	if more := r.after.memory - r.before.memory; more > slack && !raceDetector() {
		t.Errorf("the server takes %.1f MB more than before", more)
	}
	if more := r.after.threads - r.before.threads; more > threadSlack {
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

// tolls makes a table in Markdown. The first is the quiet before.
func tolls(all []*toll) string {
	quiet := all[0].load
	var b strings.Builder
	fmt.Fprintln(&b, "\n| attack | inputs | seconds | descriptors | memory, MB | threads | log lines | transfer, Mb/s | ping, ms: median; 99 %; longest silence |")
	fmt.Fprintln(&b, "| --- | ---: | ---: | --- | --- | --- | ---: | --- | --- |")
	for _, r := range all {
		ping := func(p float64) string {
			ms := r.load.percentile(p).Seconds() * 1000
			if r.load == quiet {
				return fmt.Sprintf("%.2f", ms)
			}
			return fmt.Sprintf("%+.2f", ms-quiet.percentile(p).Seconds()*1000)
		}
		fmt.Fprintf(&b, "| %s | %d | %.1f | %d → %d | %.1f → %.1f | %d → %d | %d | %.0f, intact | %s; %s; %d |\n",
			r.name, r.inputs, r.took.Seconds(), r.before.descriptors, r.after.descriptors,
			r.before.memory, r.after.memory, r.before.threads, r.after.threads,
			r.after.lines-r.before.lines, r.load.rate(), ping(0.5), ping(0.99), r.load.gap.Milliseconds())
	}
	return b.String()
}
