package history

import (
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

// Note stands in every answer about the past.
const Note = "Similarity compares texts or dates within this answer. It is not a prediction; what prices did afterwards is what happened, once."

// Watched are the prices that an answer counts.
var Watched = []market.Symbol{"WTI", "BRENT", "HENRYHUB"}

// A Likeness is what is known of a date by the dates that were like it.
type Likeness struct {
	Episodes     []Episode
	Summary                                // of what came after them
	Correlations map[market.Symbol]float64 // with the other watched prices, on the last 60 common days
}

// Like looks for the k episodes that were most like a date of a series, and counts
// what the price did in so many days after each.
func Like(pasts *Pasts, s *market.Sample, series market.Series, at time.Time, k, days int) (Likeness, error) {
	episodes, err := pasts.Of(series).Similar(at, k, days)
	if err != nil {
		return Likeness{}, err
	}
	like := Likeness{Episodes: episodes, Correlations: make(map[market.Symbol]float64)}
	var changes []float64
	for _, e := range episodes {
		if e.After != nil {
			changes = append(changes, e.After.Change)
		}
	}
	like.Summary = Summarize(series.Symbol, changes)
	for _, symbol := range Watched {
		if other, ok := s.Lookup(symbol); ok && symbol != series.Symbol {
			if c, ok := Correlation(series, other, at, 60); ok {
				like.Correlations[symbol] = c
			}
		}
	}
	return like, nil
}
