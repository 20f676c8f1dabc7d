package provision

import (
	"cmp"
	"math"
)

// plain is the policy as it is read: it looks at every pool in every decision, and
// is asked again a second later whenever a move is due. Evenkeel must order the same.
type plain struct {
	p    Parameters
	m    *Market
	cool []Time // by pool: not to be asked before

	leaving   []int32 // pools that were given notice and still serve
	stops     []Time  // by pool: when they stop
	nextProbe Time
	nextMove  Time
	scores    []float64
	rank      []int32 // pools by score
	looked    Time
	placed    []int32 // by pool, while a decision is made: asked for just now
	regions   []int32 // by pool
	inRegion  []int32 // machines, while a decision is made
}

// newPlain returns the policy.
func newPlain(p Parameters) *plain {
	p.Probe = cmp.Or(p.Probe, 30)
	p.Aversion = cmp.Or(p.Aversion, 0.05)
	p.MaxShare = cmp.Or(p.MaxShare, 0.5)
	p.Save = cmp.Or(p.Save, 0.05)
	return &plain{p: p}
}

// Start implements Policy.
func (e *plain) Start(m *Market) {
	e.m, e.cool, e.scores = m, make([]Time, len(m.Pools)), make([]float64, len(m.Pools))
	e.placed, e.looked = make([]int32, len(m.Pools)), -lookScores
	e.rank = make([]int32, len(m.Pools))
	for i := range e.rank {
		e.rank[i] = int32(i)
	}
	e.stops, e.leaving = make([]Time, len(m.Pools)), make([]int32, 0, 2*len(m.Pools))
	e.regions = make([]int32, len(m.Pools))
	names := make(map[string]int32)
	for i := range m.Pools {
		r, ok := names[m.Pools[i].Region]
		if !ok {
			r = int32(len(names))
			names[m.Pools[i].Region] = r
		}
		e.regions[i] = r
	}
	e.inRegion = make([]int32, len(names))
}

// Decide implements Policy.
func (e *plain) Decide(v *View, orders []Order) ([]Order, Time) {
	t := e.m.Timing
	for _, p := range v.Noticed {
		e.cool[p] = v.Now + t.Notice + askAgain
		e.stops[p] = v.Now + t.Slack()
		e.leaving = append(e.leaving, p)
	}
	refused := false
	for _, p := range v.Refused {
		switch {
		case p < 0:
		case v.Pools[p].Ready > 0:
			e.cool[p] = v.Now + askFull // it holds some of ours: it is full, not gone
		default:
			e.cool[p] = v.Now + askAgain
		}
		refused = true
	}

	if t.Gap() > 0 && e.p.Headroom != HeadroomNever {
		return e.spare(v, refused, orders)
	}

	floor := int32(math.Ceil(e.p.Floor * float64(v.Want)))
	have := v.Ready + v.Starting
	wake := Never
	switch missing := v.Want - have; {
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
			wake = min(wake, max(e.nextProbe, v.Now+1))
		}
	} else if v.Now >= e.nextMove && v.Want == have && v.Leaving == 0 {
		e.nextMove = v.Now + lookMoves
		orders = e.move(v, orders)
	}
	return orders, min(wake, max(e.nextMove, v.Now+1))
}

// replace asks for missing machines: spot while there is time to be refused, on
// demand from the last moment on.
func (e *plain) replace(v *View, missing, floor int32, refused bool, orders []Order) ([]Order, Time) {
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
func (e *plain) cover(v *View) Time {
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
func (e *plain) spot(v *View, n int32, limit float64, orders []Order) ([]Order, int32) {
	e.look(v)
	total := v.Ready + v.Starting - v.OnDemand.Ready - v.OnDemand.Starting
	first := len(orders)
	most := int32(math.Ceil(e.p.MaxShare * float64(max(v.Want, 1))))
	chunk := max(1, v.Want/64)
	for n > 0 {
		best, least, capped := -1, math.Inf(1), true
		for _, i := range e.rank {
			x := e.scores[i]
			if x >= limit || x >= least && !capped {
				break // what shares more costs more, never less
			}
			if v.Now < e.cool[i] {
				continue
			}
			own := v.Pools[i].Ready + v.Pools[i].Starting + e.placed[i]
			full := own >= most
			if total > 0 {
				region := e.inRegion[e.regions[i]]
				x *= 1 + e.p.Aversion*(float64(own)+correlationInRegion*float64(region-own)+correlationAcross*float64(total-region))/float64(total)
			}
			if full && !capped || full == capped && x >= least {
				continue
			}
			best, least, capped = int(i), x, full
		}
		if best < 0 {
			break
		}
		k := min(n, chunk)
		if !capped {
			k = min(k, max(1, most-v.Pools[best].Ready-v.Pools[best].Starting-e.placed[best]))
		}
		if e.placed[best] == 0 {
			orders = append(orders, Order{Pool: int32(best)})
		}
		e.placed[best] += k
		e.inRegion[e.regions[best]] += k
		total += k
		n -= k
	}
	for i := first; i < len(orders); i++ {
		o := &orders[i]
		o.Nodes, e.placed[o.Pool] = e.placed[o.Pool], 0
	}
	return orders, n
}

// look brings the scores, the pools' order by them and the machines in each region
// up to date.
func (e *plain) look(v *View) {
	if len(v.Pools) > few && v.Now < e.looked+lookScores {
		return
	}
	e.looked = v.Now
	clear(e.inRegion)
	for i := range v.Pools {
		e.scores[i] = e.score(v, i)
		e.inRegion[e.regions[i]] += v.Pools[i].Ready + v.Pools[i].Starting
	}
	// By insertion: hardly anything has moved since the last time.
	for i := 1; i < len(e.rank); i++ {
		for j := i; j > 0 && e.scores[e.rank[j]] < e.scores[e.rank[j-1]]; j-- {
			e.rank[j], e.rank[j-1] = e.rank[j-1], e.rank[j]
		}
	}
}

// score is what an hour in a pool is expected to cost: its price, and for each
// reclaim the time in which two machines are paid for and one works, once when it is
// left for something dearer and once when it is come back to.
func (e *plain) score(v *View, i int) float64 {
	s := &v.Pools[i]
	perHour := hazard(&e.m.Pools[i], s, v.Now) / 24
	lead := float64(e.m.Timing.Lead) / 3600
	return float64(s.Price) * (1 + 2*perHour*lead)
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
func (e *plain) spare(v *View, refused bool, orders []Order) ([]Order, Time) {
	live, regions, full := int32(0), int32(0), int32(0) // in use: pools, regions; pools with too many
	clear(e.inRegion)
	for i := range v.Pools {
		if v.Pools[i].Ready+v.Pools[i].Starting > 0 {
			live++
			if e.inRegion[e.regions[i]]++; e.inRegion[e.regions[i]] == 1 {
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
			pools := e.inRegion[e.regions[i]]
			return (each + pools - 1) / pools
		}
		return each
	}
	for i := range v.Pools {
		have := v.Pools[i].Ready + v.Pools[i].Starting
		switch {
		case have == 0:
		case have < share(i) && v.Now >= e.cool[i]:
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
func (e *plain) affords(v *View, reclaims float64) bool {
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
func (e *plain) another(v *View) int {
	clear(e.inRegion)
	total := int32(0)
	for i := range v.Pools {
		k := v.Pools[i].Ready + v.Pools[i].Starting
		e.inRegion[e.regions[i]] += k
		total += k
	}
	best, least := -1, float64(e.m.OnDemand)
	for i := range v.Pools {
		if v.Pools[i].Ready+v.Pools[i].Starting > 0 || v.Now < e.cool[i] {
			continue
		}
		x := e.score(v, i)
		if total > 0 {
			x *= 1 + e.p.Aversion*correlationInRegion*float64(e.inRegion[e.regions[i]])/float64(total)
		}
		if x < least {
			best, least = i, x
		}
	}
	return best
}

// release lets go of machines that are not needed: those on demand first, then
// those with the worst score.
func (e *plain) release(v *View, n, floor int32, orders []Order) []Order {
	if k := min(n, v.OnDemand.Ready+v.OnDemand.Starting-floor); k > 0 {
		orders = append(orders, Order{OnDemand, -k})
		n -= k
	}
	first := len(orders)
	for n > 0 {
		worst, most := -1, math.Inf(-1)
	search:
		for i := range v.Pools {
			if v.Pools[i].Ready == 0 {
				continue
			}
			for _, o := range orders[first:] {
				if o.Pool == int32(i) {
					continue search
				}
			}
			if x := e.score(v, i); x > most {
				worst, most = i, x
			}
		}
		if worst < 0 {
			return orders
		}
		k := min(n, v.Pools[worst].Ready)
		orders = append(orders, Order{int32(worst), -k})
		n -= k
	}
	return orders
}

// move asks for machines in a pool that has become much cheaper than the dearest
// in use. When they are ready, release lets go of the dear ones.
func (e *plain) move(v *View, orders []Order) []Order {
	worst, most := -1, 0.0
	for i := range v.Pools {
		if v.Pools[i].Ready > 0 {
			if x := e.score(v, i); x > most {
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

// NewPlain is for tests outside of the package.
func NewPlain(p Parameters) Policy { return newPlain(p) }
