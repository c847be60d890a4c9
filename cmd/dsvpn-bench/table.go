package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// table renders the results as a table in Markdown that can be read as it is.
func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d CPUs; load %.1f before, %.1f after. Medians (least–most) of %d rounds, %d s each.\n\n",
		r.Machine.System, r.Machine.CPUs, r.Machine.LoadBefore, r.Machine.LoadAfter, r.Rounds, r.Seconds)
	compared := slices.Contains(r.Contenders, subject)
	head := append([]string{"", "unit"}, r.Contenders...)
	if compared {
		head = append(head, subject+" : "+noTunnel, subject+" : fastest peer")
	}
	rows := [][]string{head}
	for _, s := range r.Figures {
		row := []string{s.Name, s.Unit}
		for _, c := range r.Contenders {
			row = append(row, s.cell(c))
		}
		if compared {
			direct, peer := s.against(subject)
			row = append(row, short(direct), short(peer))
		}
		rows = append(rows, row)
	}
	writeTable(&b, rows)
	for i, n := range r.Notes {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "* %s\n", strings.ReplaceAll(strings.TrimSpace(n), "\n", "\n  "))
	}
	return b.String()
}

// cell is the summary of one contender, such as 512 (480–530).
func (s *series) cell(contender string) string {
	m, ok := s.of(contender)
	switch {
	case !ok:
		return "–"
	case len(s.Values[contender]) == 1:
		return short(m.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", short(m.Median), short(m.Min), short(m.Max))
}

// short writes a number with three digits that count, and a dash for NaN.
func short(v float64) string {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64) // 99.96 is 100
	switch a := math.Abs(rounded); {
	case math.IsNaN(v):
		return "–"
	case a == 0:
		return "0"
	case a < 1000:
		digits := 2 - int(math.Floor(math.Log10(a)))
		return strconv.FormatFloat(v, 'f', min(max(digits, 0), 4), 64)
	}
	return strconv.FormatFloat(v, 'f', 0, 64)
}

// writeTable writes rows, of which the first is the head, in columns: the
// first two to the left, numbers to the right.
func writeTable(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i < 2 {
				cell += space
			} else {
				cell = space + cell
			}
			b.WriteString("| " + cell + " ")
		}
		b.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i := range row {
			line := strings.Repeat("-", width[i])
			if i >= 2 {
				line = line[1:] + ":"
			}
			b.WriteString("| " + line + " ")
		}
		b.WriteString("|\n")
	}
}
