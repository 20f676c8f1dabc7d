package sim

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/provision"
)

// Interval is a figure with the bounds within which 95 % of the resampled
// histories have it.
type Interval struct{ Value, Low, High float64 }

// Figures are what a Result says to a person. Shares are of 1.
type Figures struct {
	Strategy string   `json:"strategy"`
	USD      float64  `json:"usd"`
	OnDemand float64  `json:"onDemandUSD"` // what all on demand would have cost
	Days     float64  `json:"days"`
	Machines float64  `json:"machines"` // paid for, on average
	Cost     Interval `json:"cost"`     // share of all on demand
	Bound    float64  `json:"toBound"`  // cost over that of who knows the future and needs no time to start
	Enough   Interval `json:"enough"`   // share of time with enough ready
	Served   float64  `json:"served"`   // share of the capacity wanted
	WorstDay float64  `json:"worstDay"` // the least share of time with enough ready in a day
	Longest  Time     `json:"longestOutageSeconds"`
	Reclaims float64  `json:"reclaims"` // of a machine in a day
	Moves    int64    `json:"moves"`
	Events   int64    `json:"events"`
}

// Evaluate makes figures of a Result. The intervals come from a bootstrap over
// blocks of days: days that follow each other are alike, so they are drawn together.
func Evaluate(res *Result) Figures {
	t := res.Total()
	f := Figures{
		Strategy: res.Strategy, USD: t.Cost.Dollars(), OnDemand: t.OnDemand.Dollars(),
		Days: float64(t.Span) / float64(day), Machines: float64(t.Nodes) / float64(t.Span),
		Bound:    float64(t.Cost) / float64(t.Full),
		Served:   float64(t.Served) / float64(t.Need),
		WorstDay: 1, Longest: res.Longest, Moves: res.Moved, Events: res.Events,
	}
	for _, d := range res.Days {
		if d.Span > 0 {
			f.WorstDay = min(f.WorstDay, float64(d.Enough)/float64(d.Span))
		}
	}
	if t.Nodes > 0 {
		f.Reclaims = float64(t.Reclaims) / (float64(t.Nodes) / float64(day))
	}
	f.Cost.Value, f.Enough.Value = shares(t)
	var costs, enough []float64
	for _, sample := range resample(res.Days, 400) {
		c, e := shares(sample)
		costs, enough = append(costs, c), append(enough, e)
	}
	f.Cost.Low, f.Cost.High = bounds(costs)
	f.Enough.Low, f.Enough.High = bounds(enough)
	return f
}

// shares are the cost as a share of all on demand, and the share of time with
// enough ready.
func shares(t Day) (cost, enough float64) {
	return float64(t.Cost) / float64(t.OnDemand), float64(t.Enough) / float64(t.Span)
}

// blockDays is how many days are drawn together: reclaims come in bad weeks.
const blockDays = 3

// resample draws histories of the same length from blocks of days, n times. The
// same days give the same samples.
func resample(days []Day, n int) []Day {
	random := rand.New(rand.NewPCG(uint64(len(days)), 0x5eed))
	out := make([]Day, 0, n)
	for range n {
		var t Day
		for drawn := 0; drawn < len(days); drawn += blockDays {
			first := random.IntN(len(days))
			for i := range min(blockDays, len(days)-drawn) {
				t.add(days[(first+i)%len(days)])
			}
		}
		out = append(out, t)
	}
	return out
}

// bounds are the 2.5th and 97.5th percentile.
func bounds(x []float64) (low, high float64) {
	slices.Sort(x)
	at := func(q float64) float64 { return x[int(math.Round(q*float64(len(x)-1)))] }
	return at(0.025), at(0.975)
}

// Merge puts the days of several results together, as if they were one longer
// history: those of several seeds, or of several pools.
func Merge(results []*Result) *Result {
	out := &Result{}
	for _, r := range results {
		out.Strategy, out.World = r.Strategy, r.World
		out.Days = append(out.Days, r.Days...)
		out.Events += r.Events
		out.Launched += r.Launched
		out.Reclaimed += r.Reclaimed
		out.Moved += r.Moved
		out.Refused += r.Refused
		out.Longest = max(out.Longest, r.Longest)
		out.Billed += r.Billed
		out.Lived += r.Lived
	}
	return out
}

// Compare plays strategies in a World, in order.
func Compare(w *World, strategies []provision.Strategy, o Options) []*Result {
	out := make([]*Result, len(strategies))
	for i, s := range strategies {
		out[i] = Run(w, s.Name, s.New(w.Settings.Seed), o)
	}
	return out
}
