package main

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// pings is what a run of ping came to.
type pings struct {
	times []float64 // milliseconds, one for each answer
	lost  float64   // percent
}

// pingLine is an answer in the output of ping -D -n: when it came (seconds
// since 1970), its number and how long it took (milliseconds).
var pingLine = regexp.MustCompile(`^\[(\d+\.\d+)\] .*\bicmp_seq=(\d+) .*\btime=(\d+(?:\.\d+)?) ms`)

// parsePing reads the output of ping -D -n. Answers that came in the first
// skip seconds after the first of all do not count. Lost is what is missing
// between the first and the last answer that count: what is still under way
// when ping ends is not lost.
func parsePing(output string, skip float64) (pings, error) {
	var p pings
	var begin float64
	first, last := 0, 0
	for line := range strings.Lines(output) {
		m := pingLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		// The pattern lets nothing through that is not a number.
		when, _ := strconv.ParseFloat(m[1], 64)
		number, _ := strconv.Atoi(m[2])
		took, _ := strconv.ParseFloat(m[3], 64)
		if begin == 0 {
			begin = when
		}
		if when-begin < skip {
			continue
		}
		if len(p.times) == 0 {
			first, last = number, number
		}
		first, last = min(first, number), max(last, number)
		p.times = append(p.times, took)
	}
	if len(p.times) == 0 {
		return p, errors.New("ping: no answer")
	}
	sent := last - first + 1
	p.lost = 100 * float64(max(0, sent-len(p.times))) / float64(sent)
	return p, nil
}
