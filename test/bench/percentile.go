package main

import (
	"math"
	"slices"
	"time"
)

// percentile is the smallest of the values that at least p of a hundred do not exceed (the nearest rank), so it is
// always one that was measured. Of none it is zero. The values are sorted.
func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// spread describes how long operations took.
type spread struct {
	P50 float64 `json:"p50_ms"`
	P90 float64 `json:"p90_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func spreadOf(took []time.Duration) spread {
	sorted := slices.Sorted(slices.Values(took))
	at := func(p float64) float64 { return milliseconds(percentile(sorted, p)) }
	return spread{P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}
