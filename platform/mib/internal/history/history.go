// Package history says what prices did: after a date, and after dates that were
// like one. It counts; it does not predict.
package history

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
	"sync"
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

// A Past is a series with what it looked like on each of its days, which is the same
// for every question: Study works it out once. It may be asked concurrently.
type Past struct {
	series market.Series
	looks  []look // of the days with enough before them
}

// features of a day: RSI, how volatile it is, change in 60 and in 10 days, and how far
// it is below its peak.
type features [5]float64

// look is one day. The sums are over it and all before it, relative to the first, so
// that the deviations by then are known at once.
type look struct {
	date        time.Time
	is          features
	sum, square features
}

// Study looks at each day of a series with what was known by then.
func Study(s market.Series) *Past {
	p := &Past{series: s}
	live := indicator.NewLive()
	peak := math.Inf(-1)
	for i, point := range s.Points {
		r := live.Add(point.Date, point.Close)
		peak = max(peak*0.998, point.Close) // forgets slowly: about a year
		if live.Count < 120 || r.Regime == indicator.Unknown {
			continue
		}
		l := look{date: point.Date, is: features{
			r.RSI,
			math.Log(max(r.Ratio, 0.05)),
			indicator.Change(s.Points[max(0, i-60)].Close, point.Close),
			indicator.Change(s.Points[max(0, i-10)].Close, point.Close),
			point.Close / peak,
		}}
		if n := len(p.looks); n > 0 {
			l.sum, l.square = p.looks[n-1].sum, p.looks[n-1].square
			for j, f := range l.is {
				d := f - p.looks[0].is[j]
				l.sum[j] += d
				l.square[j] += d * d
			}
		}
		p.looks = append(p.looks, l)
	}
	return p
}

// until returns how many looks are not after a time.
func (p *Past) until(t time.Time) int {
	n, _ := slices.BinarySearchFunc(p.looks, t, func(l look, t time.Time) int {
		if l.date.After(t) {
			return 1
		}
		return -1
	})
	return n
}

// Similar returns the k episodes whose readings were most like those of the given
// date, among dates whose following days were over by then: nothing that was not
// known on that date is used to find or to describe them.
func (p *Past) Similar(at time.Time, k, days int) ([]Episode, error) {
	n := p.until(at)
	if n == 0 || at.Sub(p.looks[n-1].date) > stale {
		return nil, fmt.Errorf("%s has too little history before %s", p.series.Symbol, at.Format(time.DateOnly))
	}
	now := p.looks[n-1]
	var scale features
	for j := range scale {
		mean := now.sum[j] / float64(n)
		scale[j] = max(math.Sqrt(max(0, now.square[j]/float64(n)-mean*mean)), 1e-9)
	}
	over := p.looks[:min(n, p.until(at.Add(-time.Duration(days)*day)))]
	nearest := make(nearestFirst, len(over))
	for i, l := range over {
		var sum float64
		for j := range scale {
			d := (l.is[j] - now.is[j]) / scale[j]
			sum += d * d
		}
		nearest[i] = near{i, sum}
	}
	heap.Init(&nearest) // few of thousands are wanted
	var chosen []Episode
	for len(chosen) < k && len(nearest) > 0 {
		next := heap.Pop(&nearest).(near)
		e := Episode{Date: over[next.i].date, Distance: math.Sqrt(next.square)}
		if slices.ContainsFunc(chosen, func(c Episode) bool { return e.Date.Sub(c.Date).Abs() < apart*day }) {
			continue
		}
		if m, ok := After(p.series, e.Date, days); ok {
			e.After = &m
		}
		chosen = append(chosen, e)
	}
	return chosen, nil
}

// near is a look and the square of its distance.
type near struct {
	i      int
	square float64
}

// nearestFirst is a heap; of two as near the earlier one comes first.
type nearestFirst []near

func (h nearestFirst) Len() int { return len(h) }
func (h nearestFirst) Less(a, b int) bool {
	return h[a].square < h[b].square || h[a].square == h[b].square && h[a].i < h[b].i
}
func (h nearestFirst) Swap(a, b int) { h[a], h[b] = h[b], h[a] }
func (h *nearestFirst) Push(x any)   { *h = append(*h, x.(near)) }
func (h *nearestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// Pasts keeps the Past of each series of one sample, from the first question about
// it on. The zero value is ready; it may be used concurrently.
type Pasts struct{ bySymbol sync.Map }

// Of returns the Past of a series. Series are told apart by their symbols.
func (p *Pasts) Of(s market.Series) *Past {
	once, _ := p.bySymbol.LoadOrStore(s.Symbol, sync.OnceValue(func() *Past { return Study(s) }))
	return once.(func() *Past)()
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
