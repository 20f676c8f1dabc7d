package provision

import (
	"cmp"
	"math"
	"math/bits"
)

// few is up to how many pools everything is looked at in every decision. With more,
// their order and the machines in each region are up to lookScores old.
const few = 64

// ranking keeps the pools in the order of what an hour in them is expected to
// cost, and which of them may be asked, so that a decision looks at the first few
// and not at all. It gives what a look at all of them would give, bit by bit: the
// tests hold it against one that does just that.
type ranking struct {
	m      *Market
	lead   float64   // hours
	prior  []float64 // by pool: reclaims that it is credited with
	seen   []seen    // by pool: what its score was made of
	order  []int32   // pools by score, as of looked
	scores []float64 // by place in order
	place  []int32   // by pool: where in order
	looked Time

	until []Time   // by pool: not to be asked before
	may   []uint64 // a bit for each place in order: may be asked
	cold  []queue  // of those that may not be, one for each time that is waited

	regions []int32   // by pool
	held    []int32   // by region: machines of ours, as of looked and placed since
	least   []float64 // by region: by how much a pool of which nothing is ours costs more, while a decision is made
}

// seen is what the score of a pool depends on while nothing of ours is there.
type seen struct {
	price    Price
	reclaims int32
	exposed  Time
}

// queue holds pools that all wait equally long, so it is in order of time by
// itself.
type queue struct {
	span  Time
	waits []wait
	head  int
}

// wait says when to look again whether a pool may be asked.
type wait struct {
	at   Time
	pool int32
}

func newRanking(m *Market) *ranking {
	n := len(m.Pools)
	r := &ranking{
		m: m, lead: float64(m.Timing.Lead) / 3600, looked: -lookScores,
		prior: make([]float64, n), scores: make([]float64, n), seen: make([]seen, n), order: make([]int32, n), place: make([]int32, n),
		until: make([]Time, n), may: make([]uint64, (n+63)/64), regions: make([]int32, n),
	}
	names := make(map[string]int32)
	for i := range m.Pools {
		r.prior[i] = cmp.Or(m.Pools[i].Hazard, priorHazard) * priorDays
		r.order[i], r.place[i] = int32(i), int32(i)
		r.allow(i, true)
		name := m.Pools[i].Region
		if _, ok := names[name]; !ok {
			names[name] = int32(len(names))
		}
		r.regions[i] = names[name]
	}
	r.held, r.least = make([]int32, len(names)), make([]float64, len(names))
	return r
}

// score is what an hour in a pool is expected to cost: its price, and for each
// reclaim the time in which two machines are paid for and one works, once when it is
// left for something dearer and once when it is come back to.
func (r *ranking) score(v *View, i int) float64 {
	s := &v.Pools[i]
	exposed := float64(s.Exposed)
	if s.Since != Never {
		exposed += float64(v.Now - s.Since)
	}
	perDay := (float64(s.Reclaims) + r.prior[i]) / (exposed/86400 + priorDays) // as hazard has it
	return float64(s.Price) * (1 + 2*(perDay/24)*r.lead)
}

// due reports whether the next look counts everything anew.
func (r *ranking) due(now Time) bool {
	return len(r.order) <= few || now >= r.looked+lookScores
}

// look brings everything up to date, if it is due.
func (r *ranking) look(v *View) {
	if !r.due(v.Now) {
		return
	}
	r.looked = v.Now
	clear(r.held)
	for i := range v.Pools {
		s := &v.Pools[i]
		r.held[r.regions[i]] += s.Ready + s.Starting
		now := seen{s.Price, s.Reclaims, s.Exposed}
		if s.Since != Never || r.seen[i] != now {
			r.seen[i], r.scores[r.place[i]] = now, r.score(v, i)
		}
	}
	// By insertion: hardly anything has moved since the last time.
	most := r.scores[0] // of all up to here
	first, end := len(r.scores), 0
	for i, x := range r.scores {
		if x >= most {
			most = x
			continue
		}
		p, j := r.order[i], i
		for ; j > 0 && x < r.scores[j-1]; j-- {
			r.order[j], r.scores[j] = r.order[j-1], r.scores[j-1]
		}
		r.order[j], r.scores[j] = p, x
		first, end = min(first, j), i+1
	}
	for at := first; at < end; at++ {
		p := r.order[at]
		r.place[p] = int32(at)
		r.allow(at, v.Now >= r.until[p])
	}
}

// allow notes whether the pool at a place may be asked.
func (r *ranking) allow(at int, yes bool) {
	word, bit := &r.may[at/64], uint64(1)<<(at%64)
	if yes {
		*word |= bit
	} else {
		*word &^= bit
	}
}

// cool keeps a pool from being asked for a while.
func (r *ranking) cool(p int32, now, span Time) {
	r.until[p] = now + span
	r.allow(int(r.place[p]), false)
	for i := range r.cold {
		if q := &r.cold[i]; q.span == span {
			q.waits = append(q.waits, wait{now + span, p})
			return
		}
	}
	r.cold = append(r.cold, queue{span: span, waits: []wait{{now + span, p}}})
}

// thaw lets pools be asked whose time has come. A pool that was cooled twice waits
// twice; what counts is until.
func (r *ranking) thaw(now Time) {
	for i := range r.cold {
		q := &r.cold[i]
		for q.head < len(q.waits) && q.waits[q.head].at <= now {
			if p := q.waits[q.head].pool; r.until[p] <= now {
				r.allow(int(r.place[p]), true)
			}
			q.head++
		}
		if 2*q.head > len(q.waits) {
			q.waits = q.waits[:copy(q.waits, q.waits[q.head:])]
			q.head = 0
		}
	}
}

// shared is how much of what is ours is lost with a pool that has own of it, in a
// region that has so much, of total.
func shared(own, region, total int32) float64 {
	return float64(own) + correlationInRegion*float64(region-own) + correlationAcross*float64(total-region)
}

// sure is what a bound is lowered by, for what is lost in rounding.
const sure = 1 - 1e-12

// best is the pool with the least score, after what is lost together, of those
// that may be asked and whose score is below the limit; those that have the most
// machines that one should have come last. It returns -1 if there is none.
//
// A pool can count no less than one of its region in which nothing is ours. So what
// lies further down the order than the best one's count divided by that need not be
// looked at. A division takes as long as all the rest, so it comes last.
func (r *ranking) best(v *View, placed []int32, total, most int32, limit, aversion float64) (best int, full bool) {
	floor, each := 1.0, 0.0
	if total > 0 {
		floor, each = math.Inf(1), aversion/float64(total)
		for region, held := range r.held {
			r.least[region] = (1 + each*shared(0, held, total)) * sure
			floor = min(floor, r.least[region])
		}
	}
	best, full = -1, true
	x := math.Inf(1)
	for word, set := range r.may {
		for ; set != 0; set &= set - 1 {
			at := word*64 + bits.TrailingZeros64(set)
			i, score := r.order[at], r.scores[at]
			if score >= limit || !full && score*floor >= x {
				return best, full
			}
			own := v.Pools[i].Ready + v.Pools[i].Starting + placed[i]
			f := own >= most
			if f && !full {
				continue
			}
			if total > 0 {
				region := r.regions[i]
				if f == full && score*r.least[region] >= x {
					continue
				}
				share := shared(own, r.held[region], total)
				if f == full && score*(1+each*share)*sure >= x {
					continue
				}
				score *= 1 + aversion*share/float64(total)
			}
			if f != full || score < x {
				best, x, full = int(i), score, f
			}
		}
	}
	return best, full
}
