package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dsvpn/netcfg/netlab/netlabtest"
)

// A neighbour that loads its rules anew and wipes ours has them back in the
// twinkling of an eye, and the tunnel goes on.
func TestRulesComeBackAfterReload(t *testing.T) {
	for _, n := range neighbours {
		if !n.wipes {
			continue
		}
		for _, kind := range []string{"nft", "iptables-nft", "iptables-legacy"} {
			t.Run(n.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				n.need(t)
				tr := newTestTrial(t)
				reload := n.start(t, tr.server)
				flag := "--firewall=nft"
				if kind != "nft" {
					useIptables(t, tr, kind)
					flag = "--firewall=iptables"
				}
				serveCaller(t, tr, tr.internet, "")
				startServer(t, tr, flag)
				startClient(t, tr, flag)
				wantCaller(t, tr.client, internetIP, serverUplinkIP)
				want := state(t, tr.server)
				reload()
				eventually(t, "our rules are back", func() bool { return hasState(tr.server, want) })
				wantCaller(t, tr.client, internetIP, serverUplinkIP)
			})
		}
	}
}

// A client keeps its session when its way to the server goes and comes back,
// when a second way appears that is worse, and when its address is renewed.
func TestClientKeepsItsSession(t *testing.T) {
	netlabtest.Need(t, "ip")
	for name, change := range map[string][]string{
		"default route away for a while": {"route del default", "route add default via " + serverIP},
		"a second default route":         {"route add default via 198.51.100.77 metric 900", "route del default via 198.51.100.77"},
		"address renewed":                {"addr change " + clientIP + "/24 dev uplink valid_lft 600 preferred_lft 600"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			// Behind a router, so that the default route is the way there.
			const far = "192.0.2.53"
			check(t, tr.server.AddAddr("lo", netip.MustParsePrefix(far+"/32")))
			serveCaller(t, tr, tr.internet, "")
			server := startServer(t, tr)
			client, err := tr.start(tr.client, "Connected", "client", tr.key(), far)
			stopAtEnd(t, client, err)
			for _, command := range change {
				check(t, runOn(tr.client, "ip", strings.Fields(command)...))
				// The guard has seen it when it has put back what goes with it.
				check(t, runOn(tr.client, "ip", "rule", "del", "priority", "31001", "protocol", "69"))
				eventually(t, "the guard has been round", func() bool {
					out, err := tr.client.CombinedOutput(exec.Command("ip", "rule"))
					return err == nil && strings.Contains(string(out), "31001:")
				})
			}
			wantCaller(t, tr.client, internetIP, serverUplinkIP)
			wantOneSession(t, server, client)
		})
	}
}

// Somebody who goes on removing what is put back is met with patience: no more
// than a few repairs, one line in the log, and next to no time of a processor.
func TestFightDoesNotSpin(t *testing.T) {
	t.Parallel()
	netlabtest.Need(t, "ip")
	tr := newTestTrial(t)
	wantHostsUnchanged(t, tr)
	startServer(t, tr)
	client := startClient(t, tr)
	want := state(t, tr.client)
	before := processorTime(t, client)

	const fight = 4 * time.Second
	ctx, stop := context.WithTimeout(t.Context(), fight)
	defer stop()
	var fighter sync.WaitGroup
	fighter.Go(func() {
		for ctx.Err() == nil {
			tr.client.CombinedOutput(exec.Command("ip", "route", "flush", "table", "42069"))
		}
	})
	fighter.Wait()
	if spent := processorTime(t, client) - before; spent > fight/4 {
		t.Errorf("%v of processor time in a fight of %v", spent, fight)
	}
	if n := client.log.count("is put back (said once)"); n > 2 { // a route each, to the tunnel and to nowhere
		t.Errorf("it is said %d times:\n%s", n, client.log.String())
	}
	eventually(t, "what is left is put back", func() bool { return hasState(tr.client, want) })
}

// processorTime is what a process has used so far, by the kernel's count.
func processorTime(t *testing.T, p *process) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/stat")
	check(t, err)
	// Fields 14 and 15 of proc(5), in ticks of a hundredth of a second; the
	// name, field 2, may have spaces and ends with the last parenthesis.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		check(t, err)
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100
}

// A slow server is waited for: neither the guard's rounds nor what others do
// to their own firewall make the client give up an attempt to connect.
func TestSlowServerIsWaitedFor(t *testing.T) {
	netlabtest.Need(t, "nft", "iptables", "ip6tables")
	for _, firewall := range []string{"nft", "iptables"} {
		t.Run(firewall, func(t *testing.T) {
			t.Parallel()
			tr := newTestTrial(t)
			attempts := make(chan struct{}, 100)
			check(t, tr.serve(tr.server, ":443", func(c net.Conn) error {
				attempts <- struct{}{}
				_, err := io.Copy(io.Discard, c) // never answers, until the client gives up
				return err
			}))
			client, err := tr.start(tr.client, "Interface: [", "client", tr.key(), serverIP, "--firewall="+firewall)
			stopAtEnd(t, client, err)
			<-attempts
			for range 5 {
				check(t, runOn(tr.client, "nft", "add table ip others; delete table ip others"))
				select {
				case <-attempts:
					t.Fatalf("the client has given up an attempt:\n%s", client.log.String())
				case <-time.After(700 * time.Millisecond): // more than a round of the guard
				}
			}
		})
	}
}
