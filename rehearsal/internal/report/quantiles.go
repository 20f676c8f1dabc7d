package report

import (
	"math"
	"slices"
)

// QuantilesOf returns the quantiles of a set of values by the nearest rank: each
// is one of the values. It sorts them.
func QuantilesOf(values []float64) Quantiles {
	if len(values) == 0 {
		return Quantiles{}
	}
	slices.Sort(values)
	at := func(q float64) float64 {
		rank := max(int(math.Ceil(q*float64(len(values)))), 1)
		return round(values[rank-1])
	}
	return Quantiles{Count: len(values), P50: at(0.5), P99: at(0.99), Max: round(values[len(values)-1])}
}

// round keeps three places: none of our clocks is better.
func round(v float64) float64 { return math.Round(v*1000) / 1000 }
