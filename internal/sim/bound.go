package sim

import (
	"cmp"
	"math"
	"slices"
)

// Bounds are what somebody who knows the future would pay to serve everything.
// No policy that serves everything can cost less than any of them.
type Bounds struct {
	// Instant needs no time to start a machine: at each moment it has the cheapest
	// one that there is. Every figure "to bound" of this package is against it,
	// since it holds for all policies and is the hardest.
	Instant Money
	// Startup starts machines as we do, just in time: the exact least, found by
	// dynamic programming, where a pool has room for all machines or for none.
	Startup Money
	// Dual also knows how many machines a pool has room for. It is the value of the
	// Lagrangian dual of the linear program, so it may be below the least by what
	// the ascent has not reached yet.
	Dual Money
}

// Bounds computes the bounds of a World.
func (w *World) Bounds() Bounds {
	return Bounds{Instant: w.instant(), Startup: w.startup(), Dual: w.dual(150)}
}

// warm is the moment from which capacity is wanted in the bounds, as in a run.
func (w *World) warm() Time { return w.Settings.Timing.Lead + w.Settings.Timing.Answer }

func (w *World) instant() Money {
	var sum Money
	at, price := Time(0), w.first
	upTo := func(t Time) {
		if from := max(at, w.warm()); t > from {
			sum += Money(price) * Money(t-from)
		}
		at = t
	}
	for i := range w.events {
		upTo(w.events[i].at)
		price = w.events[i].cheapest
	}
	upTo(w.End)
	return sum * Money(w.Settings.Nodes)
}

// offer is a stretch in which a machine of a pool can serve.
type offer struct {
	pool     int
	from, to Time
}

// grid is the moments at which anything changes for who knows the future, and
// what can serve between them.
type grid struct {
	at    []Time    // the last one is the end
	can   [][]bool  // by pool, then interval; the last pool is on demand
	price [][]Price // likewise
	least []Price   // by pool: over the whole time
}

func (w *World) grid() *grid {
	n := len(w.Market.Pools)
	lead, warm := w.Settings.Timing.Lead, w.warm()
	g := &grid{at: []Time{warm, w.End}}
	note := func(t Time) {
		if t > warm && t < w.End {
			g.at = append(g.at, t)
		}
	}
	var offers []offer
	for p, ups := range w.ups {
		for _, u := range ups {
			if from := u.from + lead; from < u.to {
				offers = append(offers, offer{p, from, u.to})
				note(from)
				note(u.to)
			}
		}
	}
	for _, e := range w.events {
		if e.kind == priced {
			note(e.at)
		}
	}
	slices.Sort(g.at)
	g.at = slices.Compact(g.at)
	k := len(g.at) - 1
	for p := range n + 1 {
		g.can = append(g.can, make([]bool, k))
		price := make([]Price, k)
		if p == n {
			for i := range k {
				g.can[p][i], price[i] = true, w.Market.OnDemand
			}
		}
		g.price = append(g.price, price)
	}
	for _, o := range offers {
		first, _ := slices.BinarySearch(g.at, max(o.from, warm))
		for i := first; i < k && g.at[i] < o.to; i++ {
			g.can[o.pool][i] = true
		}
	}
	now := make([]Price, n)
	for p := range n {
		now[p] = w.Market.Pools[p].Price
	}
	g.least = append(slices.Clone(now), w.Market.OnDemand)
	next := 0
	for i := range k {
		for next < len(w.events) && w.events[next].at <= g.at[i] {
			if e := w.events[next]; e.kind == priced {
				now[e.pool] = e.price
				g.least[e.pool] = min(g.least[e.pool], e.price)
			}
			next++
		}
		for p := range n {
			g.price[p][i] = now[p]
		}
	}
	return g
}

// far is more than anything costs, and can be added to without overflow.
const far = math.MaxInt64 / 4

// startup is the least that one machine's worth of capacity costs, times the
// machines: without limits to a pool's room they do not get in each other's way. A
// change of server pays for the new one while it starts and the old one serves. To
// keep an old one idle for later costs as much as to be served by it, so that is
// never better. Where prices change, a start is taken at the pool's least price, and
// the result is a bound, not the least.
func (w *World) startup() Money {
	g := w.grid()
	pools := len(g.can)
	cost := make([]Money, pools) // served by this pool now
	entry := make([]Money, pools)
	for p := range cost {
		entry[p] = Money(g.least[p]) * Money(w.Settings.Timing.Lead)
		if !g.can[p][0] {
			cost[p] = far
		}
	}
	for i := range len(g.at) - 1 {
		best := slices.Min(cost)
		for p := range cost {
			if !g.can[p][i] {
				cost[p] = far
				continue
			}
			cost[p] = min(cost[p], best+entry[p]) + Money(g.price[p][i])*Money(g.at[i+1]-g.at[i])
		}
	}
	return slices.Min(cost) * Money(w.Settings.Nodes)
}

// dual climbs the Lagrangian dual: each interval has a price for capacity, every
// machine that there is room for serves when that pays, and what is wanted is bought
// at these prices. Whatever the prices, wanted minus profits is a bound; they are
// moved towards where as much serves as is wanted.
func (w *World) dual(rounds int) Money {
	g := w.grid()
	k, pools := len(g.at)-1, len(g.can)
	want := float64(w.Settings.Nodes)
	room := make([]float64, pools)
	for p := range room {
		room[p] = want
		if p < pools-1 {
			room[p] = min(want, float64(w.most[p]))
		}
	}
	span := make([]float64, k)
	lambda := make([]float64, k)
	for i := range k {
		span[i] = float64(g.at[i+1] - g.at[i])
		lambda[i] = w.marginal(g, room, i)
	}
	serves := make([]float64, k)
	path := make([]bool, 2*k) // whether the better way to be off, on came from the other
	best := 0.0
	step := float64(w.Market.OnDemand) / 4
	for round := range rounds {
		value := 0.0
		clear(serves)
		for i := range k {
			value += lambda[i] * want * span[i]
		}
		for p := range pools {
			value -= room[p] * profit(g, p, w.Settings.Timing.Lead, lambda, span, path, serves, room[p])
		}
		if value > best {
			best = value
		}
		size := step / (1 + float64(round)/5)
		for i := range k {
			lambda[i] = max(0, lambda[i]+size*(want-serves[i])/want)
		}
	}
	return Money(best)
}

// marginal is what the last machine costs that is needed in an interval.
func (w *World) marginal(g *grid, room []float64, i int) float64 {
	type there struct{ price, room float64 }
	var all []there
	for p := range room {
		if g.can[p][i] {
			all = append(all, there{float64(g.price[p][i]), room[p]})
		}
	}
	slices.SortFunc(all, func(a, b there) int { return cmp.Compare(a.price, b.price) })
	left := float64(w.Settings.Nodes)
	for _, t := range all {
		if left -= t.room; left <= 0 {
			return t.price
		}
	}
	return float64(w.Market.OnDemand) // unreachable: there is room for all on demand
}

// profit is the most that one machine of a pool earns, and adds to serves where it
// does.
func profit(g *grid, p int, lead Time, lambda, span []float64, path []bool, serves []float64, room float64) float64 {
	off, on := 0.0, math.Inf(-1)
	entry := float64(g.least[p]) * float64(lead)
	for i := range lambda {
		can := g.can[p][i]
		wasOff, wasOn := off, on
		// Off in this interval.
		path[2*i] = wasOn > wasOff
		off = max(wasOff, wasOn)
		// On in this interval. The first one needs no start: it was before.
		start := wasOff - entry
		if i == 0 {
			start = wasOff
		}
		path[2*i+1] = start > wasOn
		on = math.Inf(-1)
		if can {
			on = max(wasOn, start) + (lambda[i]-float64(g.price[p][i]))*span[i]
		}
	}
	state := 0
	best := off
	if on > off {
		state, best = 1, on
	}
	for i := len(lambda) - 1; i >= 0; i-- {
		if state == 1 {
			serves[i] += room
		}
		if path[2*i+state] {
			state = 1 - state
		}
	}
	return best
}
