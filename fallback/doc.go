// Package fallback has the commands that set a host up on systems where the
// program does not program the kernel itself: macOS and the BSDs.
//
// A [System] is data: a table for the server and one for the client, a [Line]
// for each thing that is done, with the command that does it and the one that
// takes it back. Tables have no build tags, so that all of them are tested
// everywhere.
//
// Data flows one way:
//
//	table of a System ─ Expand ─> Change ─ (a step of a netcfg.Plan) ─> Runner
//
// Package netcfg chooses the lines that a configuration needs, by their [Part],
// and makes a step of each. So these commands are applied, rolled back, undone
// and printed by the same machinery as everything else.
//
// No shell is involved: a template is split into words before variables are put
// in, so that a value is always one argument, or a part of one, whatever it
// holds.
//
// PORTING.md, beside this file, tells how to add a system.
package fallback
