// Package history says what prices did: after a date, and after dates that were
// like one. It counts; it does not predict.
package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

const day = 24 * time.Hour

// stale is how old a price may be to stand for a day: a long weekend, and for
// monthly series a month.
const stale = 35 * day

// A Move is what a price did from one day to another.
type Move struct {
	Symbol market.Symbol `json:"symbol"`
	Unit   string        `json:"unit"`
	From   market.Point  `json:"from"`
	To     market.Point  `json:"to"`
	Change float64       `json:"change"` // share of the first price
	Source string        `json:"source"`
}

// After returns what the price did in so many days after a date.
func After(s market.Series, date time.Time, days int) (Move, bool) {
	from, ok := s.At(date)
	if !ok || date.Sub(from.Date) > stale || from.Close == 0 {
		return Move{}, false
	}
	end := date.Add(time.Duration(days) * day)
	if last := s.Points[len(s.Points)-1]; last.Date.Before(end) {
		return Move{}, false // those days are not over
	}
	to, _ := s.At(end)
	return Move{s.Symbol, s.Unit, from, to, (to.Close - from.Close) / math.Abs(from.Close), s.Source}, true
}

// An Episode is a date that was like another, and what came after it.
type Episode struct {
	Date     time.Time `json:"date"`
	Distance float64   `json:"distance"` // in deviations; 0 is the same
	After    *Move     `json:"after,omitempty"`
}

// Days between two episodes of one answer: nearer dates are one episode, not two
// witnesses.
const apart = 45

// Similar returns the k episodes whose readings were most like those of the given
// date, among dates whose following days were over by then: nothing that was not
// known on that date is used to find or to describe them.
func Similar(s market.Series, at time.Time, k, days int) ([]Episode, error) {
	var features [][]float64
	var dates []time.Time
	live := indicator.NewLive()
	peak := math.Inf(-1)
	for i, p := range s.Points {
		if p.Date.After(at) {
			break
		}
		r := live.Add(p.Date, p.Close)
		peak = max(peak*0.998, p.Close) // forgets slowly: about a year
		if live.Count < 120 || r.Regime == indicator.Unknown {
			continue
		}
		features = append(features, []float64{
			r.RSI,
			math.Log(max(r.Ratio, 0.05)),
			indicator.Change(s.Points[max(0, i-60)].Close, p.Close),
			indicator.Change(s.Points[max(0, i-10)].Close, p.Close),
			p.Close / peak,
		})
		dates = append(dates, p.Date)
	}
	if len(dates) == 0 || at.Sub(dates[len(dates)-1]) > stale {
		return nil, fmt.Errorf("%s has too little history before %s", s.Symbol, at.Format(time.DateOnly))
	}
	scale := deviations(features)
	now := features[len(features)-1]
	episodes := make([]Episode, 0, len(dates))
	for i, f := range features {
		if dates[i].Add(time.Duration(days) * day).After(at) {
			break
		}
		var sum float64
		for j := range f {
			d := (f[j] - now[j]) / scale[j]
			sum += d * d
		}
		episodes = append(episodes, Episode{Date: dates[i], Distance: math.Sqrt(sum)})
	}
	slices.SortStableFunc(episodes, func(a, b Episode) int { return cmp.Compare(a.Distance, b.Distance) })
	var chosen []Episode
	for _, e := range episodes {
		if len(chosen) == k {
			break
		}
		if slices.ContainsFunc(chosen, func(c Episode) bool { return e.Date.Sub(c.Date).Abs() < apart*day }) {
			continue
		}
		if m, ok := After(s, e.Date, days); ok {
			e.After = &m
		}
		chosen = append(chosen, e)
	}
	return chosen, nil
}

func deviations(features [][]float64) []float64 {
	scale := make([]float64, len(features[0]))
	for j := range scale {
		w := indicator.Window{N: len(features)}
		for _, f := range features {
			w.Add(f[j])
		}
		scale[j] = max(w.Deviation(), 1e-9)
	}
	return scale
}

// Correlation is that of the changes of two prices on their last common n days not
// after a date. It is false if there are too few, or one of them did not move.
func Correlation(a, b market.Series, at time.Time, n int) (float64, bool) {
	var x, y []float64
	i, j := len(a.Points)-1, len(b.Points)-1
	var lastA, lastB float64
	for i >= 0 && j >= 0 && len(x) < n {
		p, q := a.Points[i], b.Points[j]
		switch {
		case p.Date.After(at) || p.Date.After(q.Date):
			i--
			continue
		case q.Date.After(at) || q.Date.After(p.Date):
			j--
			continue
		}
		if lastA != 0 || lastB != 0 {
			x = append(x, indicator.Change(p.Close, lastA))
			y = append(y, indicator.Change(q.Close, lastB))
		}
		lastA, lastB = p.Close, q.Close
		i--
		j--
	}
	if len(x) < max(3, n/2) {
		return 0, false
	}
	var mx, my, xx, yy, xy float64
	for i := range x {
		mx += x[i] / float64(len(x))
		my += y[i] / float64(len(y))
	}
	for i := range x {
		xx += (x[i] - mx) * (x[i] - mx)
		yy += (y[i] - my) * (y[i] - my)
		xy += (x[i] - mx) * (y[i] - my)
	}
	if xx == 0 || yy == 0 {
		return 0, false
	}
	return xy / math.Sqrt(xx*yy), true
}
