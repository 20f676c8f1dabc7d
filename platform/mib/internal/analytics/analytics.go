// Package analytics finds what is unusual in a stream of prices: changes that are
// out of proportion, restless markets, weeks with a large move.
//
// The decision is State.Step, a function of the ticks of one partition in their
// order and of nothing else: whoever plays them again from a state comes to the
// same alerts with the same IDs. Service owns the goroutines and the broker.
package analytics

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/indicator"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Kinds of alerts.
const (
	Anomaly = "anomaly" // a change out of proportion
	Regime  = "regime"  // a market has become stressed, or is no longer
	Mover   = "mover"   // a week with a large move
)

const (
	unusual  = 4.0                // deviations from which a change is an anomaly
	large    = 0.10               // share from which a week is a mover
	week     = 7 * 24 * time.Hour // windows of event time
	lateness = 3 * 24 * time.Hour // how much later than newer ones a tick may come and still count
	remember = 1024               // event ids, for de-duplication
	maxFeeds = 16                 // the feed that was quiet for longest is forgotten
)

// A State is what is known of one partition.
type State struct {
	Series map[string]*Series // by Tick.Key
	Taken  int64              // ticks, those that were repeated not counted
	Seen   stream.Seen

	// Feeds is what version 1 had instead of Taken and Series.Last: the feed that had
	// a tick last is the last.
	Feeds []string `json:",omitempty"`

	// What was not used, for metrics.
	Repeated, Late, OutOfOrder int64
}

// A Series is what is known of one price.
type Series struct {
	Feed    string
	Last    int64 // State.Taken at its last tick
	Live    *indicator.Live
	Newest  time.Time // event time; the watermark is lateness behind it
	Windows []Window  // open ones, in their order
}

// A Window is a week of event time. Its ticks may come in any order.
type Window struct {
	Begin       time.Time
	First, Last Extreme // the earliest and the latest price
	High, Low   float64
	Count       int
}

// An Extreme is a price at the edge of a window.
type Extreme struct {
	Time  time.Time
	Price float64
}

// NewState returns the state before the first tick.
func NewState() *State {
	return &State{Series: make(map[string]*Series), Seen: stream.Seen{N: remember}}
}

// Step takes one tick and returns the alerts that follow from it.
func (s *State) Step(t stream.Tick) []stream.Alert {
	if s.Seen.Again(t.ID) {
		s.Repeated++
		return nil
	}
	series := s.series(t)
	if !series.Newest.IsZero() && t.Time.Before(series.Newest.Add(-lateness)) {
		s.Late++
		return nil // the window it belongs to may be closed
	}
	var alerts []stream.Alert
	if t.Time.After(series.Newest) {
		series.Newest = t.Time
		alerts = series.observe(t)
	} else {
		// Averages cannot take it back in its place; its window can.
		s.OutOfOrder++
	}
	series.count(t)
	return append(alerts, series.close(t)...)
}

// series returns that of a tick, and forgets a feed if there are too many.
func (s *State) series(t stream.Tick) *Series {
	s.Taken++
	series := s.Series[t.Key()]
	if series == nil {
		series = &Series{Feed: t.Feed, Live: indicator.NewLive()}
		s.Series[t.Key()] = series
		series.Last = s.Taken // or the new feed would be the one that was quiet for longest
		s.forget()
	}
	series.Last = s.Taken
	return series
}

// forget forgets the feed that was quiet for longest if there are too many.
func (s *State) forget() {
	last := make(map[string]int64, maxFeeds+1)
	for _, x := range s.Series {
		last[x.Feed] = max(last[x.Feed], x.Last)
	}
	if len(last) <= maxFeeds {
		return
	}
	var quiet string
	for feed, at := range last {
		if quiet == "" || at < last[quiet] {
			quiet = feed
		}
	}
	for k, x := range s.Series {
		if x.Feed == quiet {
			delete(s.Series, k)
		}
	}
}

// observe takes the newest price.
func (x *Series) observe(t stream.Tick) []stream.Alert {
	var alerts []stream.Alert
	before := x.Live.Regime
	r := x.Live.Add(t.Time, t.Price)
	if math.Abs(r.Score) >= unusual {
		alerts = append(alerts, alert(Anomaly, t, t.Time, r.Score,
			fmt.Sprintf("%s changed by %+.1f %% to %.2f, %.1f times its usual deviation", t.Symbol, 100*relative(t.Price, r.Change), t.Price, math.Abs(r.Score))))
	}
	if r.Regime != before && (r.Regime == indicator.Stressed || before == indicator.Stressed) {
		alerts = append(alerts, alert(Regime, t, t.Time, r.Ratio,
			fmt.Sprintf("%s went from %s to %s: its volatility is %.1f times the usual", t.Symbol, before, r.Regime, r.Ratio)))
	}
	return alerts
}

// relative makes a share of a change that may be a logarithm.
func relative(price, change float64) float64 {
	if price > 0 {
		if from := price / math.Exp(change); from > 0 {
			return price/from - 1
		}
	}
	return change
}

// count puts a price into its window.
func (x *Series) count(t stream.Tick) {
	begin := weekOf(t.Time)
	i, ok := slices.BinarySearchFunc(x.Windows, begin, func(w Window, b time.Time) int { return w.Begin.Compare(b) })
	if !ok {
		e := Extreme{t.Time, t.Price}
		x.Windows = slices.Insert(x.Windows, i, Window{begin, e, e, t.Price, t.Price, 1})
		return
	}
	w := &x.Windows[i]
	w.Count++
	w.High, w.Low = max(w.High, t.Price), min(w.Low, t.Price)
	if t.Time.Before(w.First.Time) {
		w.First = Extreme{t.Time, t.Price}
	}
	if t.Time.After(w.Last.Time) {
		w.Last = Extreme{t.Time, t.Price}
	}
}

// close closes the windows that the watermark has passed.
func (x *Series) close(t stream.Tick) []stream.Alert {
	var alerts []stream.Alert
	watermark := x.Newest.Add(-lateness)
	for len(x.Windows) > 0 && !x.Windows[0].Begin.Add(week).After(watermark) {
		w := x.Windows[0]
		x.Windows = slices.Delete(x.Windows, 0, 1)
		if w.First.Price == 0 {
			continue
		}
		change := (w.Last.Price - w.First.Price) / math.Abs(w.First.Price)
		if math.Abs(change) >= large {
			end := w.Begin.Add(week)
			of := t
			of.Price = w.Last.Price
			alerts = append(alerts, alert(Mover, of, end, change,
				fmt.Sprintf("%s moved by %+.1f %% in the week from %s: from %.2f to %.2f (low %.2f, high %.2f, %d prices)",
					t.Symbol, 100*change, w.Begin.Format(time.DateOnly), w.First.Price, w.Last.Price, w.Low, w.High, w.Count)))
		}
	}
	return alerts
}

// weekOf returns the Monday on which the week of t began.
func weekOf(t time.Time) time.Time {
	monday := time.Date(1970, 1, 5, 0, 0, 0, 0, time.UTC)
	weeks := t.Sub(monday) / week
	if begin := monday.Add(weeks * week); !begin.After(t) {
		return begin
	}
	return monday.Add((weeks - 1) * week) // before 1970 division rounds up
}

func alert(kind string, t stream.Tick, at time.Time, value float64, message string) stream.Alert {
	return stream.Alert{
		ID:   kind + "/" + t.Feed + "/" + t.Symbol + "/" + at.UTC().Format(time.RFC3339),
		Kind: kind, Feed: t.Feed, Symbol: t.Symbol, Time: at, Price: t.Price, Value: value, Message: message, Source: t.Source,
	}
}

// A Snapshot is a state and the offset of the first tick that it does not reflect.
// They are in one record, so they cannot disagree.
type Snapshot struct {
	Version int    `json:"version"`
	Offset  int64  `json:"offset"`
	State   *State `json:"state"`
}

// Version 1 remembered in another way which feed was quiet for longest; it is read
// still.
const snapshotVersion = 2

func decodeSnapshot(b []byte) (Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return Snapshot{}, fmt.Errorf("decoding a snapshot: %w", err)
	}
	switch {
	case s.Version != snapshotVersion && s.Version != 1:
		return Snapshot{}, fmt.Errorf("a snapshot has the version %d, not %d", s.Version, snapshotVersion)
	case s.Offset < 0 || s.State == nil || s.State.Series == nil || s.State.Seen.N != remember ||
		len(s.State.Seen.Ring) > remember || s.State.Seen.Next < 0 || s.State.Seen.Next >= remember:
		return Snapshot{}, fmt.Errorf("a snapshot is not whole")
	}
	for key, x := range s.State.Series {
		if x == nil || x.Live == nil {
			return Snapshot{}, fmt.Errorf("a snapshot has nothing of %s", key)
		}
		if s.Version == 1 {
			x.Last = int64(slices.Index(s.State.Feeds, x.Feed) + 1)
		}
	}
	if s.Version == 1 {
		s.Version, s.State.Taken, s.State.Feeds = snapshotVersion, int64(len(s.State.Feeds)), nil
	}
	return s, nil
}
