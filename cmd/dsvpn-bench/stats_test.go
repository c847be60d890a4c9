package main

import (
	"math"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   summary
	}{
		{[]float64{7}, summary{7, 7, 7}},
		{[]float64{9, 1}, summary{5, 1, 9}},
		{[]float64{3, 100, 1}, summary{3, 1, 100}},
		{[]float64{4, 1, 3, 2}, summary{2.5, 1, 4}},
		{[]float64{5, 5, -5, 5, 0}, summary{5, -5, 5}},
	} {
		if got := summarize(tt.values); got != tt.want {
			t.Errorf("summarize(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
	values := []float64{3, 1, 2}
	summarize(values)
	if values[0] != 3 {
		t.Error("summarize changes the order of what it is given")
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		values  []float64
		p, want float64
	}{
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.5, 100},
		{hundred, 100, 100},
		{hundred, 0, 1},
		{[]float64{8}, 50, 8},
		{[]float64{8}, 99, 8},
		{[]float64{2, 1, 3}, 50, 2},
	} {
		if got := percentile(tt.values, tt.p); got != tt.want {
			t.Errorf("percentile %v of %d values = %v, want %v", tt.p, len(tt.values), got, tt.want)
		}
	}
	if got := percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("percentile of nothing = %v", got)
	}
	if got := ratio(1, 0); !math.IsNaN(got) {
		t.Errorf("ratio to 0 = %v", got)
	}
}
