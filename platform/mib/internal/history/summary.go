package history

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

// A Summary counts what a price did after several dates. It describes those dates
// and no others.
type Summary struct {
	Symbol market.Symbol `json:"symbol"`
	N      int           `json:"n"`    // dates that were counted
	Rose   int           `json:"rose"` // dates after which the price was higher
	Median float64       `json:"median"`
	Low    float64       `json:"low"` // the smallest change; a share, like Median and High
	High   float64       `json:"high"`
}

// Summarize counts changes of one price. Without any, all of it is 0.
func Summarize(symbol market.Symbol, changes []float64) Summary {
	s := Summary{Symbol: symbol, N: len(changes)}
	if s.N == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(changes))
	s.Low, s.High = sorted[0], sorted[s.N-1]
	s.Median = (sorted[(s.N-1)/2] + sorted[s.N/2]) / 2
	for _, c := range sorted {
		if c > 0 {
			s.Rose++
		}
	}
	return s
}

// SummarizeMoves counts the moves of one price. Moves from the same day are one:
// several texts of one month say nothing more about what came after it.
func SummarizeMoves(symbol market.Symbol, moves []Move) Summary {
	var changes []float64
	var from []market.Point
	for _, m := range moves {
		if m.Symbol == symbol && !slices.Contains(from, m.From) {
			from = append(from, m.From)
			changes = append(changes, m.Change)
		}
	}
	return Summarize(symbol, changes)
}
