package history

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
)

func series(symbol market.Symbol, prices ...float64) market.Series {
	s := market.Series{Symbol: symbol}
	for i, p := range prices {
		s.Points = append(s.Points, market.Point{Date: date(i), Close: p})
	}
	return s
}

func date(i int) time.Time { return time.Date(2001, 1, 1+i, 0, 0, 0, 0, time.UTC) }

func TestAfter(t *testing.T) {
	s := series("X", 10, 20, 5, -5)
	for _, c := range []struct {
		from, days int
		want       float64
		ok         bool
	}{{0, 1, 1, true}, {1, 1, -0.75, true}, {2, 1, -2, true}, {3, 1, 0, false}, {-1, 1, 0, false}, {90, 1, 0, false}} {
		m, ok := After(s, date(c.from), c.days)
		if ok != c.ok || m.Change != c.want {
			t.Errorf("%d days after %d: %+v %v", c.days, c.from, m, ok)
		}
	}
}

func TestSimilarUsesNothingThatWasNotKnown(t *testing.T) {
	s, _ := market.Generate(1).Lookup("WTI")
	at := time.Date(2008, 10, 15, 0, 0, 0, 0, time.UTC)
	got, err := Study(s).Similar(at, 8, 60)
	if err != nil || len(got) != 8 {
		t.Fatal(got, err)
	}
	for i, e := range got {
		if e.Date.Add(60*day).After(at) || e.After == nil || i > 0 && e.Distance < got[i-1].Distance {
			t.Errorf("%+v", e)
		}
		for _, o := range got[:i] {
			if o.Date.Sub(e.Date).Abs() < apart*day {
				t.Errorf("%s and %s are one episode", o.Date, e.Date)
			}
		}
	}
	// A future that is cut off changes nothing.
	var known market.Series = s
	for i, p := range s.Points {
		if p.Date.After(at) {
			known.Points = s.Points[:i]
			break
		}
	}
	again, err := Study(known).Similar(at, 8, 60)
	if err != nil || len(again) != len(got) {
		t.Fatal(again, err)
	}
	for i := range got {
		if again[i].Date != got[i].Date || again[i].Distance != got[i].Distance || *again[i].After != *got[i].After {
			t.Errorf("with the future %+v, without %+v", got[i], again[i])
		}
	}
	if got, err := Study(s).Similar(s.Points[50].Date, 3, 60); err == nil {
		t.Errorf("after 50 days of history: %v", got)
	}
}

func TestCorrelation(t *testing.T) {
	a := series("A", 1, 2, 1, 3, 1, 4)
	inverse := series("B", 1, 0.5, 1, 1.0/3, 1, 0.25)
	if c, ok := Correlation(a, inverse, date(9), 5); !ok || math.Abs(c+1) > 1e-9 {
		t.Errorf("got %v %v", c, ok)
	}
	if c, ok := Correlation(a, a, date(3), 3); !ok || math.Abs(c-1) > 1e-9 {
		t.Errorf("got %v %v", c, ok)
	}
	if c, ok := Correlation(a, series("C", 1, 1, 1, 1, 1, 1), date(9), 5); ok {
		t.Errorf("with one that does not move: %v", c)
	}
	if c, ok := Correlation(a, a, date(1), 5); ok {
		t.Errorf("of one change: %v", c)
	}
}

// TestSimilarBySorting compares with the plain way: all distances, sorted.
func TestSimilarBySorting(t *testing.T) {
	s, _ := market.Generate(2).Lookup("BRENT")
	p := Study(s)
	for _, at := range []time.Time{p.looks[len(p.looks)-1].date, p.looks[len(p.looks)/2].date, p.looks[150].date} {
		n := p.until(at)
		var scale features
		for j := range scale {
			w := indicator.Window{N: n}
			for _, l := range p.looks[:n] {
				w.Add(l.is[j])
			}
			scale[j] = max(w.Deviation(), 1e-9)
		}
		var all []Episode
		for _, l := range p.looks[:n] {
			if l.date.Add(60 * day).After(at) {
				break
			}
			var sum float64
			for j := range scale {
				d := (l.is[j] - p.looks[n-1].is[j]) / scale[j]
				sum += d * d
			}
			all = append(all, Episode{Date: l.date, Distance: math.Sqrt(sum)})
		}
		slices.SortStableFunc(all, func(a, b Episode) int { return cmp.Compare(a.Distance, b.Distance) })
		var want []Episode
		for _, e := range all {
			if len(want) < 10 && !slices.ContainsFunc(want, func(c Episode) bool { return e.Date.Sub(c.Date).Abs() < apart*day }) {
				want = append(want, e)
			}
		}
		got, err := p.Similar(at, 10, 60)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d, %v", len(got), len(want), err)
		}
		for i := range want {
			if got[i].Date != want[i].Date || math.Abs(got[i].Distance-want[i].Distance) > 1e-9 {
				t.Errorf("at %s, number %d: %v, want %v", at, i, got[i], want[i])
			}
		}
	}
}

func TestPastsAreStudiedOnce(t *testing.T) {
	s, _ := market.Generate(1).Lookup("WTI")
	var p Pasts
	var got [8]*Past
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() { got[i] = p.Of(s) })
	}
	wg.Wait()
	for _, past := range got {
		if past == nil || past != got[0] {
			t.Error("studied twice")
		}
	}
}

func BenchmarkSimilar(b *testing.B) {
	s, _ := market.Generate(1).Lookup("WTI")
	var p Pasts
	at := s.Points[len(s.Points)-1].Date
	for b.Loop() {
		if _, err := p.Of(s).Similar(at, 10, 60); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(p.Of(s).looks)), "days")
}
