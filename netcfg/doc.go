// Package netcfg makes a host ready for a tunnel and puts it back afterwards.
//
// Data flows one way:
//
//	Config (what is wanted) ─┐
//	                         ├─ MakePlan ─> Plan ─ Apply ─> Applied ─ Undo
//	Probe ─> Facts (what is) ┘
//
// [Probe] reads the host once. [MakePlan] is a pure function, so that a plan
// can be tested on any machine and printed instead of applied. [Apply]
// performs the steps and rolls back when one fails; [Applied.Undo] takes back
// what was done, last step first.
//
// What is programmed bears our mark in the kernel itself: routes and policy
// rules carry our rtnetlink protocol number, packet filter rules live in a
// table named after the interface or have such a name as their comment. So
// [Sweep] finds what a crashed process has left without any file, and never
// touches a thing of somebody else's. What cannot bear a mark keeps its former
// value in a file: sysctls below the state directory, name servers where
// [dsvpn/netcfg/dns] says.
//
// On macOS and the BSDs a plan is made of the commands of [dsvpn/fallback], and
// facts come from the routing socket. Their routes bear no mark: a record below
// the state directory has what a crash would leave, and the lock on it tells
// whether the process that made it still runs.
package netcfg
