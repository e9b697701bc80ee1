package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// times are samples in milliseconds.
type times []float64

func (t *times) add(d time.Duration) { *t = append(*t, float64(d)/float64(time.Millisecond)) }

// quantile of samples, by the nearest rank.
func quantile[T cmp.Ordered](samples []T, q float64) T {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// summary of samples, in milliseconds. Curve has the quantiles 0, 0.01, … 0.99,
// for pictures.
type summary struct {
	N     int       `json:"n"`
	P50   float64   `json:"p50"`
	P90   float64   `json:"p90"`
	P95   float64   `json:"p95"`
	P99   float64   `json:"p99"`
	Max   float64   `json:"max"`
	Curve []float64 `json:"curve,omitempty"`
}

func (t times) summary() summary {
	if len(t) == 0 {
		return summary{}
	}
	s := summary{N: len(t), P50: quantile(t, 0.5), P90: quantile(t, 0.9), P95: quantile(t, 0.95), P99: quantile(t, 0.99), Max: slices.Max(t)}
	for i := range 100 {
		s.Curve = append(s.Curve, round(quantile(t, float64(i)/100), 4))
	}
	for _, v := range []*float64{&s.P50, &s.P90, &s.P95, &s.P99, &s.Max} {
		*v = round(*v, 4)
	}
	return s
}

func (s summary) String() string {
	return fmt.Sprintf("p50 %8.3f ms   p99 %8.3f ms   n=%d", s.P50, s.P99, s.N)
}

func round(v float64, digits int) float64 {
	scale := 1.0
	for range digits {
		scale *= 10
	}
	if v < 0 {
		return -round(-v, digits)
	}
	return float64(int64(v*scale+0.5)) / scale
}
