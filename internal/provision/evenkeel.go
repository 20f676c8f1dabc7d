package provision

import (
	"cmp"
	"math"
)

// Parameters of this project's policy. The zero value of each stands for its
// default. None was fitted to the history that it is judged on: see
// docs/decisions.
type Parameters struct {
	// Probe is how often spot is asked for while on-demand machines stand in for it.
	// Defaults to 30 s: a refusal costs nothing but a request.
	Probe Time
	// Aversion is how much more than its price a pool may cost that shares less with
	// what is already there. Defaults to 0.05.
	Aversion float64
	// MaxShare is the largest share of the machines in one pool, while others
	// have capacity. Defaults to 0.5.
	MaxShare float64
	// Floor is the share of machines that is always on demand. Defaults to none.
	Floor float64
	// Headroom says when machines are kept ready for the loss of a pool.
	Headroom Headroom
	// Save is the share of its price that a pool must save over the one in use before
	// machines are moved for it. Defaults to 0.05.
	Save float64
}

// Headroom says when machines are kept to spare.
type Headroom int

// When machines are kept to spare.
const (
	// HeadroomAuto keeps as many as the largest pool holds, but only where a machine
	// goes sooner than another is ready, and only while the error budget could not
	// pay for the next reclaim.
	HeadroomAuto Headroom = iota
	HeadroomNever
	// HeadroomAlways does not spend the error budget.
	HeadroomAlways
)

// Evenkeel is this project's policy.
//
// A noticed machine is replaced by another spot machine if one is granted while
// there is time; at the last moment at which an on-demand machine would still be
// ready in time, on-demand machines are ordered instead. They are a bridge: spot is
// asked for all along, and as soon as it is ready they go.
//
// Where to ask is a matter of price, of how often the pool is reclaimed, since
// each reclaim pays for two machines while one is replaced, and of how much would be
// lost together.
type Evenkeel struct {
	p    Parameters
	m    *Market
	rank *ranking

	leaving   []int32 // pools that were given notice and still serve
	stops     []Time  // by pool: when they stop
	nextProbe Time
	nextMove  Time
	placed    []int32   // by pool, while a decision is made: asked for just now
	inRegion  []int32   // while a decision is made: pools or machines
	dearest   []float64 // by pool, while some are let go: its score
}

// NewEvenkeel returns the policy.
func NewEvenkeel(p Parameters) *Evenkeel {
	p.Probe = cmp.Or(p.Probe, 30)
	p.Aversion = cmp.Or(p.Aversion, 0.05)
	p.MaxShare = cmp.Or(p.MaxShare, 0.5)
	p.Save = cmp.Or(p.Save, 0.05)
	return &Evenkeel{p: p}
}

// Start implements Policy.
func (e *Evenkeel) Start(m *Market) {
	n := len(m.Pools)
	e.m, e.rank = m, newRanking(m)
	e.placed, e.dearest = make([]int32, n), make([]float64, n)
	e.stops, e.leaving = make([]Time, n), make([]int32, 0, 2*n)
	e.inRegion = make([]int32, len(e.rank.held))
}

// Times between looks at things that do not hurry.
const (
	askAgain   = Time(60)       // at a pool that has refused
	askSoon    = Time(10)       // for anything at all, while too few are ready
	patience   = Time(30)       // how long spot is asked for before on demand must be
	askFull    = Time(6 * 3600) // at one that is full of our machines
	lookScores = Time(600)
	lookMoves  = Time(3600) // whether another pool has become much cheaper
)

// Decide implements Policy.
func (e *Evenkeel) Decide(v *View, orders []Order) ([]Order, Time) {
	t := e.m.Timing
	for _, p := range v.Noticed {
		e.rank.cool(p, v.Now, t.Notice+askAgain)
		e.stops[p] = v.Now + t.Slack()
		e.leaving = append(e.leaving, p)
	}
	refused := false
	for _, p := range v.Refused {
		switch {
		case p < 0:
		case v.Pools[p].Ready > 0:
			e.rank.cool(p, v.Now, askFull) // it holds some of ours: it is full, not gone
		default:
			e.rank.cool(p, v.Now, askAgain)
		}
		refused = true
	}
	e.rank.thaw(v.Now)

	if t.Gap() > 0 && e.p.Headroom != HeadroomNever {
		return e.spare(v, refused, orders)
	}

	floor := int32(math.Ceil(e.p.Floor * float64(v.Want)))
	have := v.Ready + v.Starting
	missing, before := v.Want-have, len(orders)
	wake, next := Never, Never // next: when to look again if nothing happens
	switch {
	case missing > 0:
		orders, wake = e.replace(v, missing, floor, refused, orders)
	case missing < 0:
		if surplus := min(-missing, v.Ready-v.Want); surplus > 0 {
			orders = e.release(v, surplus, floor, orders)
		}
	}

	// Back to spot. What stands in on demand is asked for as spot, and released when
	// that is ready.
	if bridge := v.OnDemand.Ready + v.OnDemand.Starting - floor; bridge > 0 && v.Want <= have {
		coming := v.Starting - v.OnDemand.Starting + max(0, v.Ready-v.Want)
		if n := bridge - coming; n > 0 {
			// With few pools a refusal says where not to ask next; with many it is no
			// hurry, and a request each answer would be more than clouds allow.
			again := refused && len(v.Pools) <= few
			if v.Now >= e.nextProbe || again {
				var left int32
				orders, left = e.spot(v, n, float64(e.m.OnDemand), orders)
				if left == n || !again {
					e.nextProbe = v.Now + e.p.Probe
				}
			}
			next = max(e.nextProbe, v.Now+1)
		}
	} else if v.Want == have && v.Leaving == 0 {
		if v.Now >= e.nextMove {
			e.nextMove = v.Now + lookMoves
			orders = e.move(v, orders)
		}
		next = e.nextMove
	}
	if missing <= 0 && len(orders) == before {
		return orders, next
	}
	return orders, min(wake, next, max(e.nextMove, v.Now+1))
}

// replace asks for missing machines: spot while there is time to be refused, on
// demand from the last moment on.
func (e *Evenkeel) replace(v *View, missing, floor int32, refused bool, orders []Order) ([]Order, Time) {
	t := e.m.Timing
	if d := min(missing, floor-v.OnDemand.Ready-v.OnDemand.Starting); d > 0 {
		orders = append(orders, Order{OnDemand, d})
		missing -= d
	}
	if missing == 0 {
		return orders, Never
	}
	// What is missing hurts at once, unless leaving machines still cover for it.
	last := v.Now
	if v.Leaving > 0 {
		last = max(v.Now, e.cover(v)-t.Lead)
	}
	// A long notice is no reason to pay for two machines for long.
	if v.Now < last-patience {
		return orders, last - patience
	}
	urgent := max(0, v.Want-v.Ready-v.Starting)
	if refused && urgent > 0 && v.Now >= last-t.Answer {
		// Refused, and no time for another answer.
		k := min(missing, urgent)
		orders = append(orders, Order{OnDemand, k})
		missing -= k
	}
	var left int32
	orders, left = e.spot(v, missing, float64(e.m.OnDemand), orders)
	if left == 0 {
		return orders, Never
	}
	if urgent > 0 && v.Now >= last-t.Answer {
		if k := min(left, urgent); k > 0 {
			orders = append(orders, Order{OnDemand, k})
		}
		return orders, v.Now + askSoon
	}
	return orders, min(v.Now+e.p.Probe, max(last-t.Answer, v.Now+1))
}

// cover is until when all machines that were given notice go on serving.
func (e *Evenkeel) cover(v *View) Time {
	first, n := Never, 0
	for _, p := range e.leaving {
		if v.Pools[p].Leaving > 0 && e.stops[p] > v.Now {
			first = min(first, e.stops[p])
			e.leaving[n] = p
			n++
		}
	}
	e.leaving = e.leaving[:n]
	return first
}

// spot asks for n machines in the pools with the least score, as far as it is
// below the limit, and returns how many it found no place for.
func (e *Evenkeel) spot(v *View, n int32, limit float64, orders []Order) ([]Order, int32) {
	r := e.rank
	r.look(v)
	total := v.Ready + v.Starting - v.OnDemand.Ready - v.OnDemand.Starting
	first := len(orders)
	most := int32(math.Ceil(e.p.MaxShare * float64(max(v.Want, 1))))
	chunk := max(1, v.Want/64)
	for n > 0 {
		best, full := r.best(v, e.placed, total, most, limit, e.p.Aversion)
		if best < 0 {
			break
		}
		k := min(n, chunk)
		if !full {
			k = min(k, max(1, most-v.Pools[best].Ready-v.Pools[best].Starting-e.placed[best]))
		}
		if e.placed[best] == 0 {
			orders = append(orders, Order{Pool: int32(best)})
		}
		e.placed[best] += k
		r.held[r.regions[best]] += k
		total += k
		n -= k
	}
	for i := first; i < len(orders); i++ {
		o := &orders[i]
		o.Nodes, e.placed[o.Pool] = e.placed[o.Pool], 0
	}
	return orders, n
}

// spare decides where a machine goes sooner than another is ready: whatever is
// lost is missing until its replacement is ready, unless it was there before.
//
// A pool goes as a whole, so machines are spread over as many pools as have
// capacity, evenly, and so many that those of any one may be missing. That costs
// k/(k-1) times as much with k pools. With one pool it cannot be done: then they run
// on demand, and one stays in the pool, so that it counts when a second one is found.
//
// The error budget is spent where it buys most. Running without machines to spare
// saves most when there is one pool (all is on demand otherwise), some with two, and
// hardly anything with more, while each reclaim takes the same from the budget.
// Pools of one region often go together; that takes from the budget too. While it is
// overdrawn, a region counts as one pool, and where that is not enough, on demand is.
func (e *Evenkeel) spare(v *View, refused bool, orders []Order) ([]Order, Time) {
	live, regions, full := int32(0), int32(0), int32(0) // in use: pools, regions; pools with too many
	clear(e.inRegion)
	for i := range v.Pools {
		if v.Pools[i].Ready+v.Pools[i].Starting > 0 {
			live++
			if e.inRegion[e.rank.regions[i]]++; e.inRegion[e.rank.regions[i]] == 1 {
				regions++
			}
		}
	}
	floor := int32(math.Ceil(e.p.Floor * float64(v.Want)))
	spotWant := v.Want - floor
	each := spotWant
	onDemand, byRegion := false, false
	switch {
	case !e.affords(v, 0):
		onDemand = live > 0 && (regions == 1 || !e.affords(v, -3))
		byRegion = regions > 1 && !onDemand
	case live <= 1:
		onDemand = live == 1 && !e.affords(v, 1.2)
	case live == 2 && e.affords(v, 3), e.affords(v, 8):
		each = (spotWant + live - 1) / live
	default:
		each = (spotWant + live - 2) / (live - 1)
	}
	if byRegion {
		each = (spotWant + regions - 2) / (regions - 1) // of a region
	}
	if onDemand {
		each = 1
	}
	spotReady, spotStarting := v.Ready-v.OnDemand.Ready, v.Starting-v.OnDemand.Starting

	// Every pool in use holds its share.
	share := func(i int) int32 {
		if byRegion {
			pools := e.inRegion[e.rank.regions[i]]
			return (each + pools - 1) / pools
		}
		return each
	}
	for i := range v.Pools {
		have := v.Pools[i].Ready + v.Pools[i].Starting
		switch {
		case have == 0:
		case have < share(i) && v.Now >= e.rank.until[i]:
			orders = append(orders, Order{int32(i), share(i) - have})
			spotStarting += share(i) - have
		case have > share(i):
			full++
		}
	}
	// What is too much goes when what is to replace it is ready.
	if full > 0 && v.Starting == 0 && v.Leaving == 0 {
		left := v.Ready - v.Want // whatever happens, this many may go
		for i := range v.Pools {
			if v.Pools[i].Ready == 0 {
				continue
			}
			if extra := min(v.Pools[i].Ready-share(i), left); extra > 0 {
				orders = append(orders, Order{int32(i), -extra})
				left -= extra
			}
		}
	}
	// One more pool is tried at a time, or all missing machines if there is none.
	if v.Now >= e.nextProbe || refused || live == 0 {
		first := len(orders)
		n := int32(1)
		if live == 0 {
			n = each
		}
		if i := e.another(v); i >= 0 {
			orders = append(orders, Order{int32(i), n})
			if !refused {
				spotStarting += n // the first try may cost an answer's time, no more
			}
		}
		if len(orders) == first || !refused {
			e.nextProbe = v.Now + e.p.Probe
		}
	}
	// On demand, what spot does not give and what is not on its way.
	need := v.Want
	if !onDemand {
		need = max(floor, v.Want-spotReady-spotStarting)
		// A bridge stays until spot is ready.
		need = max(need, min(v.Want-spotReady, v.OnDemand.Ready+v.OnDemand.Starting))
	}
	orders = wantOnDemand(v, need, orders)
	return orders, max(e.nextProbe, v.Now+1)
}

// affords reports whether the error budget that has gathered up to now pays for
// so many reclaims. A fifth of it is kept for what cannot be helped.
func (e *Evenkeel) affords(v *View, reclaims float64) bool {
	switch e.p.Headroom {
	case HeadroomNever:
		return true
	case HeadroomAlways:
		return reclaims < 0
	}
	bank := 0.8*(1-e.m.Objective)*float64(v.Now) - float64(v.Unserved)
	return bank >= reclaims*float64(e.m.Timing.Gap())
}

// another returns a pool in which nothing of ours is, or -1: the one with the
// least score, where sharing a region with what is there counts against it.
func (e *Evenkeel) another(v *View) int {
	clear(e.inRegion)
	total := int32(0)
	for i := range v.Pools {
		k := v.Pools[i].Ready + v.Pools[i].Starting
		e.inRegion[e.rank.regions[i]] += k
		total += k
	}
	best, least := -1, float64(e.m.OnDemand)
	for i := range v.Pools {
		if v.Pools[i].Ready+v.Pools[i].Starting > 0 || v.Now < e.rank.until[i] {
			continue
		}
		x := e.rank.score(v, i)
		if total > 0 {
			x *= 1 + e.p.Aversion*correlationInRegion*float64(e.inRegion[e.rank.regions[i]])/float64(total)
		}
		if x < least {
			best, least = i, x
		}
	}
	return best
}

// release lets go of machines that are not needed: those on demand first, then
// those with the worst score.
func (e *Evenkeel) release(v *View, n, floor int32, orders []Order) []Order {
	if k := min(n, v.OnDemand.Ready+v.OnDemand.Starting-floor); k > 0 {
		orders = append(orders, Order{OnDemand, -k})
		n -= k
	}
	for i := range v.Pools {
		e.dearest[i] = math.Inf(-1)
		if v.Pools[i].Ready > 0 {
			e.dearest[i] = e.rank.score(v, i)
		}
	}
	for n > 0 {
		worst := -1
		most := math.Inf(-1)
		for i, x := range e.dearest {
			if x > most {
				worst, most = i, x
			}
		}
		if worst < 0 {
			return orders
		}
		e.dearest[worst] = math.Inf(-1)
		k := min(n, v.Pools[worst].Ready)
		orders = append(orders, Order{int32(worst), -k})
		n -= k
	}
	return orders
}

// move asks for machines in a pool that has become much cheaper than the dearest
// in use. When they are ready, release lets go of the dear ones.
func (e *Evenkeel) move(v *View, orders []Order) []Order {
	if v.Ready == v.OnDemand.Ready {
		return orders
	}
	if e.rank.due(v.Now) {
		e.rank.look(v)
	}
	worst, most := -1, 0.0
	for i := range v.Pools {
		if v.Pools[i].Ready > 0 {
			x := e.rank.scores[e.rank.place[i]]
			if v.Now > e.rank.looked {
				x = e.rank.score(v, i)
			}
			if x > most {
				worst, most = i, x
			}
		}
	}
	if worst < 0 {
		return orders
	}
	orders, _ = e.spot(v, min(v.Pools[worst].Ready, max(1, v.Want/4)), most*(1-e.p.Save), orders)
	return orders
}
