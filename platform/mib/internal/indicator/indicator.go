// Package indicator computes what is watched of a price, one price after the other:
// each step takes the same time, however long the history is. What an indicator
// remembers is in exported fields, so that it can be stored as JSON and go on
// elsewhere; JSON gives back every bit of a float64.
package indicator

import "math"

// Change is the return from one price to the next: the logarithm of their ratio,
// or, where one of them is not positive (oil cost -36.98 dollars on 2020-04-20), the
// difference as a share of what the first was worth.
func Change(from, to float64) float64 {
	switch {
	case from > 0 && to > 0:
		return math.Log(to / from)
	case from == 0:
		return 0
	default:
		return (to - from) / math.Abs(from)
	}
}

// EMA is an exponential moving average, which begins as the mean of its first N.
type EMA struct {
	N     int
	Count int
	Value float64 // of what there was, before Ready
}

// Ready reports whether N values have come.
func (e *EMA) Ready() bool { return e.Count >= e.N }

// Add adds a value.
func (e *EMA) Add(x float64) { e.add(x, 2/float64(e.N+1)) }

func (e *EMA) add(x, weight float64) {
	e.Count++
	if e.Count <= e.N {
		e.Value += (x - e.Value) / float64(e.Count)
		return
	}
	e.Value += weight * (x - e.Value)
}

// Wilder is an EMA that gives the newest value the weight 1/N, as RSI and ATR do.
type Wilder struct{ EMA }

// Add adds a value.
func (w *Wilder) Add(x float64) { w.add(x, 1/float64(w.N)) }

// RSI compares rises with falls: 100 is only rises, 0 only falls.
type RSI struct {
	Up, Down Wilder
	Last     float64
	Begun    bool
}

// NewRSI returns an RSI over n changes.
func NewRSI(n int) RSI { return RSI{Up: Wilder{EMA{N: n}}, Down: Wilder{EMA{N: n}}} }

// Add adds a price.
func (r *RSI) Add(price float64) {
	if r.Begun {
		d := price - r.Last
		r.Up.Add(max(d, 0))
		r.Down.Add(max(-d, 0))
	}
	r.Last, r.Begun = price, true
}

// Ready reports whether Value means something.
func (r *RSI) Ready() bool { return r.Up.Ready() }

// Value is between 0 and 100; without any change it is 50.
func (r *RSI) Value() float64 {
	sum := r.Up.Value + r.Down.Value
	if sum == 0 {
		return 50
	}
	return 100 * r.Up.Value / sum
}

// MACD is the distance between a quick and a slow average, and its own average.
type MACD struct{ Fast, Slow, Signal EMA }

// NewMACD returns one with the usual 12, 26 and 9.
func NewMACD() MACD { return MACD{EMA{N: 12}, EMA{N: 26}, EMA{N: 9}} }

// Add adds a price.
func (m *MACD) Add(price float64) {
	m.Fast.Add(price)
	m.Slow.Add(price)
	if m.Slow.Ready() {
		m.Signal.Add(m.Value())
	}
}

// Ready reports whether the signal means something, too.
func (m *MACD) Ready() bool { return m.Signal.Ready() }

// Value is the distance.
func (m *MACD) Value() float64 { return m.Fast.Value - m.Slow.Value }

// Window has the mean and the deviation of the last N values.
type Window struct {
	N      int
	Values []float64 // a ring, once it is full
	Next   int       // where the next value goes
	Since  int       // values since the sums were made anew
	Origin float64   // what sums are relative to: squares of large numbers lose digits
	Sum    float64
	Square float64
}

// renew bounds how long rounding errors add up in the sums.
const renew = 1024

// Add adds a value, in place of the oldest if there are N.
func (w *Window) Add(x float64) {
	if len(w.Values) < w.N {
		w.Values = append(w.Values, x)
	} else {
		old := w.Values[w.Next] - w.Origin
		w.Sum -= old
		w.Square -= old * old
		w.Values[w.Next] = x
	}
	w.Next = (w.Next + 1) % w.N
	w.Sum += x - w.Origin
	w.Square += (x - w.Origin) * (x - w.Origin)
	if w.Since++; w.Since >= renew || len(w.Values) == 1 {
		w.Since, w.Origin, w.Sum, w.Square = 0, x, 0, 0
		for _, v := range w.Values {
			w.Sum += v - x
			w.Square += (v - x) * (v - x)
		}
	}
}

// Ready reports whether there are N values.
func (w *Window) Ready() bool { return len(w.Values) >= w.N }

// Mean returns the mean; 0 without values.
func (w *Window) Mean() float64 {
	if len(w.Values) == 0 {
		return 0
	}
	return w.Origin + w.Sum/float64(len(w.Values))
}

// Deviation returns the standard deviation of the values themselves.
func (w *Window) Deviation() float64 {
	n := float64(len(w.Values))
	if n == 0 {
		return 0
	}
	return math.Sqrt(max(0, w.Square/n-(w.Sum/n)*(w.Sum/n)))
}

// Score says how unusual a change is: how many deviations from the mean, both
// weighted towards the recent. A change is compared with what came before it.
type Score struct {
	Lambda   float64 // the weight of what was, 0 to 1
	Count    int
	Mean     float64
	Variance float64
}

// warm is how many changes have to come before one can be unusual.
const warm = 60

// Add adds a change and returns its score, which is 0 while there is too little to
// compare with.
func (s *Score) Add(x float64) float64 {
	var score float64
	if d := math.Sqrt(s.Variance); s.Count >= warm && d > 0 {
		score = (x - s.Mean) / d
	}
	if s.Count++; s.Count == 1 {
		s.Mean = x
		return 0
	}
	// While there are few, all weigh the same.
	weight := max(1-s.Lambda, 1/float64(s.Count))
	d := x - s.Mean
	s.Mean += weight * d
	s.Variance = (1 - weight) * (s.Variance + weight*d*d)
	return score
}
