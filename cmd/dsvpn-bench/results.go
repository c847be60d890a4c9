package main

import (
	"encoding/json"
	"math"
	"os"
	"slices"
)

// Contenders that others are compared with, and that is compared.
const (
	noTunnel = "direct"
	subject  = "dsvpn"
)

// figure is one row of the table.
type figure struct {
	Name  string `json:"name"`
	Unit  string `json:"unit"`
	Lower bool   `json:"lower_is_better"`
}

// results is all that was measured.
type results struct {
	Machine    machine   `json:"machine"`
	Rounds     int       `json:"rounds"`
	Seconds    int       `json:"seconds"` // of each transfer and ping
	Contenders []string  `json:"contenders"`
	Notes      []string  `json:"notes,omitempty"` // what was left out, and what failed
	Figures    []*series `json:"figures"`
}

// machine is where it was measured.
type machine struct {
	System     string  `json:"system"`
	CPUs       int     `json:"cpus"`
	LoadBefore float64 `json:"load_before"` // processes that ran or wanted to, of one minute
	LoadAfter  float64 `json:"load_after"`
}

// series has the values of one figure, in the order of the rounds, by contender.
type series struct {
	figure
	Values map[string][]float64 `json:"values"`
}

// add adds a value. NaN stands for none.
func (r *results) add(f figure, contender string, value float64) {
	i := slices.IndexFunc(r.Figures, func(s *series) bool { return s.figure == f })
	if i < 0 {
		i = len(r.Figures)
		r.Figures = append(r.Figures, &series{figure: f, Values: make(map[string][]float64)})
	}
	if !math.IsNaN(value) {
		s := r.Figures[i]
		s.Values[contender] = append(s.Values[contender], value)
	}
}

// of returns the summary of a contender's values, and whether it has any.
func (s *series) of(contender string) (summary, bool) {
	values := s.Values[contender]
	if len(values) == 0 {
		return summary{}, false
	}
	return summarize(values), true
}

// fastest returns the best median of the contenders other than the subject and
// no tunnel, and NaN where there is none.
func (s *series) fastest() float64 {
	var medians []float64
	for contender := range s.Values {
		if m, ok := s.of(contender); ok && contender != noTunnel && contender != subject {
			medians = append(medians, m.Median)
		}
	}
	switch {
	case medians == nil:
		return math.NaN()
	case s.Lower:
		return slices.Min(medians)
	}
	return slices.Max(medians)
}

// against returns the ratio of a contender's median to that of no tunnel and
// to that of the fastest peer. Where it says nothing it is NaN.
func (s *series) against(contender string) (direct, peer float64) {
	own, ok := s.of(contender)
	if !ok {
		return math.NaN(), math.NaN()
	}
	direct = math.NaN()
	if d, ok := s.of(noTunnel); ok {
		direct = ratio(own.Median, d.Median)
	}
	return direct, ratio(own.Median, s.fastest())
}

// MarshalJSON adds what can be calculated, so that nobody else has to.
func (s *series) MarshalJSON() ([]byte, error) {
	type result struct {
		summary
		Direct *float64  `json:"to_direct,omitempty"`
		Peer   *float64  `json:"to_fastest_peer,omitempty"`
		Values []float64 `json:"values"`
	}
	all := make(map[string]result)
	for contender, values := range s.Values {
		own, ok := s.of(contender)
		if !ok {
			continue
		}
		direct, peer := s.against(contender)
		all[contender] = result{own, number(direct), number(peer), values}
	}
	return json.Marshal(struct {
		figure
		Results map[string]result `json:"results"`
	}{s.figure, all})
}

// number is for a field of JSON, which has no NaN.
func number(v float64) *float64 {
	if math.IsNaN(v) {
		return nil
	}
	return &v
}

func (r *results) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
