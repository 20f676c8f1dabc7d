package provision

import (
	"math"
	"math/rand/v2"
)

// onDemandOnly runs everything on demand.
type onDemandOnly struct{}

func (*onDemandOnly) Start(*Market) {}

func (*onDemandOnly) Decide(v *View, orders []Order) ([]Order, Time) {
	orders = wantOnDemand(v, v.Want, orders)
	return orders, retryOnDemand(v)
}

// retryPause is how long a policy of somebody else waits before it asks again
// where it was refused.
const retryPause = Time(60)

// retryOnDemand is when to ask again if on-demand machines were refused.
func retryOnDemand(v *View) Time {
	for _, p := range v.Refused {
		if p == OnDemand {
			return v.Now + retryPause
		}
	}
	return Never
}

// spotOnly keeps as many spot machines as are wanted, and chooses where each
// missing one is asked for as an allocation strategy does. It knows no on-demand
// machines: when spot is not to be had, capacity is missing.
type spotOnly struct {
	choose func(s *spotOnly, v *View, missing int32, orders []Order) []Order

	m    *Market
	cool []Time // by pool: not to be asked before
	next int    // of chooseNext
	one  int    // of chooseSingle
}

func (s *spotOnly) Start(m *Market) {
	s.m, s.cool = m, make([]Time, len(m.Pools))
	for i := range m.Pools {
		if m.Pools[i].Price < m.Pools[s.one].Price {
			s.one = i
		}
	}
}

func (s *spotOnly) Decide(v *View, orders []Order) ([]Order, Time) {
	s.note(v)
	missing := v.Want - v.Ready - v.Starting
	if missing < 0 {
		return shrink(v, -missing, orders), Never
	}
	if missing == 0 {
		return orders, Never
	}
	n := len(orders)
	orders = s.choose(s, v, missing, orders)
	for _, o := range orders[n:] {
		missing -= o.Nodes
	}
	if missing > 0 {
		return orders, v.Now + retryPause
	}
	return orders, Never
}

func (s *spotOnly) note(v *View) {
	for _, p := range v.Refused {
		if p >= 0 {
			s.cool[p] = v.Now + retryPause
		}
	}
	for _, p := range v.Noticed {
		s.cool[p] = v.Now + s.m.Timing.Notice + retryPause
	}
}

// shrink lets machines of the fullest pool go. If that is not enough, the rest go
// when the policy is asked again.
func shrink(v *View, n int32, orders []Order) []Order {
	most, held := 0, int32(0)
	for i := range v.Pools {
		if k := v.Pools[i].Ready + v.Pools[i].Starting; k > held {
			most, held = i, k
		}
	}
	if held == 0 {
		return orders
	}
	return append(orders, Order{int32(most), -min(n, held)})
}

func chooseSingle(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	if v.Now < s.cool[s.one] {
		return orders
	}
	return append(orders, Order{int32(s.one), missing})
}

func chooseEven(s *spotOnly, v *View, _ int32, orders []Order) []Order {
	k := int32(len(v.Pools))
	for i := range v.Pools {
		share := v.Want / k
		if int32(i) < v.Want%k {
			share++
		}
		if d := share - v.Pools[i].Ready - v.Pools[i].Starting; d > 0 && v.Now >= s.cool[i] {
			orders = append(orders, Order{int32(i), d})
		}
	}
	return orders
}

func chooseNext(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	for tried := 0; missing > 0 && tried < len(v.Pools); tried++ {
		p := s.next
		s.next = (s.next + 1) % len(v.Pools)
		if v.Now < s.cool[p] {
			continue
		}
		// One for each pool in turn, all at once when there are more machines than pools.
		n := max(1, missing/int32(len(v.Pools)))
		orders = append(orders, Order{int32(p), n})
		missing -= n
	}
	return orders
}

// best asks for everything in the pool with the lowest score.
func (s *spotOnly) best(v *View, missing int32, orders []Order, score func(p int) float64) []Order {
	best, least := -1, math.Inf(1)
	for i := range v.Pools {
		if v.Now < s.cool[i] {
			continue
		}
		if x := score(i); x < least {
			best, least = i, x
		}
	}
	if best < 0 {
		return orders
	}
	return append(orders, Order{int32(best), missing})
}

func chooseCheapest(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	return s.best(v, missing, orders, func(p int) float64 { return float64(v.Pools[p].Price) })
}

func chooseDeepest(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	return s.best(v, missing, orders, func(p int) float64 { return hazard(&s.m.Pools[p], &v.Pools[p], v.Now) })
}

func choosePriceDepth(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	var sum float64
	for i := range v.Pools {
		sum += hazard(&s.m.Pools[i], &v.Pools[i], v.Now)
	}
	mean := sum / float64(len(v.Pools))
	return s.best(v, missing, orders, func(p int) float64 {
		x := float64(v.Pools[p].Price)
		if hazard(&s.m.Pools[p], &v.Pools[p], v.Now) > mean {
			x *= 1e3 // only when no deeper one is left
		}
		return x
	})
}

// choosePortfolio gives each machine to the pool that adds least to price and
// variance together.
func choosePortfolio(s *spotOnly, v *View, missing int32, orders []Order) []Order {
	k := newBook(v, s.m)
	for ; missing > 0; missing-- {
		p := k.cheapest(func(i int) (float64, bool) {
			return float64(v.Pools[i].Price) * (1 + 0.02*hazard(&s.m.Pools[i], &v.Pools[i], v.Now)), v.Now >= s.cool[i]
		}, 1)
		if p < 0 {
			break
		}
		orders = k.add(p, 1, orders)
	}
	return orders
}

// Correlation of the loss of capacity, as the published AWS histories show it.
const (
	correlationInRegion = 0.45
	correlationAcross   = 0.10
)

// book keeps count of where machines are while a decision places more of them.
type book struct {
	m      *Market
	nodes  []float64 // by pool
	region map[string]float64
	total  float64
}

func newBook(v *View, m *Market) *book {
	b := &book{m: m, nodes: make([]float64, len(v.Pools)), region: make(map[string]float64)}
	for i := range v.Pools {
		n := float64(v.Pools[i].Ready + v.Pools[i].Starting)
		b.nodes[i] = n
		b.region[m.Pools[i].Region] += n
		b.total += n
	}
	return b
}

// risk is how much of what is placed goes with pool p, as a share: 1 if all does.
func (b *book) risk(p int) float64 {
	if b.total == 0 {
		return 0
	}
	own, region := b.nodes[p], b.region[b.m.Pools[p].Region]
	return (own + correlationInRegion*(region-own) + correlationAcross*(b.total-region)) / b.total
}

// cheapest returns the pool with the least price after risk, or -1.
func (b *book) cheapest(price func(p int) (float64, bool), aversion float64) int {
	best, least := -1, math.Inf(1)
	for i := range b.nodes {
		x, ok := price(i)
		if !ok {
			continue
		}
		if x *= 1 + aversion*b.risk(i); x < least {
			best, least = i, x
		}
	}
	return best
}

func (b *book) add(p int, n int32, orders []Order) []Order {
	b.nodes[p] += float64(n)
	b.region[b.m.Pools[p].Region] += float64(n)
	b.total += float64(n)
	for i := range orders {
		if orders[i].Pool == int32(p) && orders[i].Nodes > 0 {
			orders[i].Nodes += n
			return orders
		}
	}
	return append(orders, Order{int32(p), n})
}

// spotHedge is the policy of SkyServe (Mao et al., EuroSys 2025), driven by the
// events of this simulator: one spot machine more than wanted, spread over the
// zones of an active list at random; a zone that took or refused a machine goes to
// a second list until one lives there again, or the active list is nearly empty;
// on-demand machines for whatever spot machines are not ready.
//
// SkyServe in package sim replays the authors' own ticks instead.
type spotHedge struct {
	seed   uint64
	random *rand.Rand
	active []bool
	few    int // the lists are reset at this many active zones
}

const spotHedgeExtra, spotHedgeTick = 1, Time(30)

func (s *spotHedge) Start(m *Market) {
	s.random = rand.New(rand.NewPCG(s.seed, 1))
	s.active = make([]bool, len(m.Pools))
	s.few = min(1, len(m.Pools)-3)
	s.reset()
}

func (s *spotHedge) reset() {
	for i := range s.active {
		s.active[i] = true
	}
}

func (s *spotHedge) Decide(v *View, orders []Order) ([]Order, Time) {
	again := Never
	for _, p := range v.Noticed {
		s.active[p] = false
	}
	refused := false
	for _, p := range v.Refused {
		if p >= 0 {
			s.active[p] = false
		}
		refused, again = true, v.Now+spotHedgeTick
	}
	n := 0
	for i := range v.Pools {
		if v.Pools[i].Ready > 0 {
			s.active[i] = true
		}
		if s.active[i] {
			n++
		}
	}
	if n <= s.few || n == 0 {
		s.reset()
	}
	spotReady, spotStarting := v.Ready-v.OnDemand.Ready, v.Starting-v.OnDemand.Starting
	missing := v.Want + spotHedgeExtra - spotReady - spotStarting
	if missing > 0 && refused {
		missing = 0 // at the next tick
	}
	if missing < 0 {
		orders = shrink(v, -missing, orders)
	}
	placed := make([]int32, len(v.Pools))
	for ; missing > 0; missing-- {
		p := s.pick(func(i int) bool { return v.Pools[i].Ready+v.Pools[i].Starting+placed[i] == 0 })
		placed[p]++
	}
	for i, n := range placed {
		if n > 0 {
			orders = append(orders, Order{int32(i), n})
		}
	}
	return wantOnDemand(v, min(v.Want, max(0, v.Want+spotHedgeExtra-spotReady)), orders), again
}

// pick returns an active zone at random, one that holds nothing if there is one.
func (s *spotHedge) pick(empty func(i int) bool) int {
	for _, only := range []bool{true, false} {
		best, n := -1, 0
		for i, a := range s.active {
			if a && (!only || empty(i)) {
				if n++; s.random.IntN(n) == 0 {
					best = i
				}
			}
		}
		if best >= 0 {
			return best
		}
	}
	return 0 // unreachable: Decide resets the lists before none is active
}

// primalDual moves the share of on-demand machines by a price on missing
// capacity, as Snape's does: the price rises while more is missing than the
// objective allows, and falls slowly while nothing is.
type primalDual struct {
	spotOnly
	share float64 // of the machines that are on demand
	since Time
}

const (
	dualRise = 2.0       // of the share, for each hour in which everything is missing
	dualFall = 0.02      // of the share an hour while nothing is
	dualTick = Time(300) // how often the share is looked at
)

func (d *primalDual) Start(m *Market) {
	d.choose = choosePriceDepth
	d.spotOnly.Start(m)
}

func (d *primalDual) Decide(v *View, orders []Order) ([]Order, Time) {
	d.note(v)
	hours := float64(v.Now-d.since) / 3600
	d.since = v.Now
	short := float64(max(0, v.Want-v.Ready)) / float64(max(1, v.Want))
	if short > 1-d.m.Objective {
		d.share += dualRise * short * hours * 10
	} else {
		d.share -= dualFall * hours
	}
	d.share = min(1, max(0, d.share))
	fixed := int32(math.Ceil(d.share * float64(v.Want)))
	orders = wantOnDemand(v, fixed, orders)
	spot := v.Ready + v.Starting - v.OnDemand.Ready - v.OnDemand.Starting
	// One in twenty to spare: Snape's over-subscription of what it expects to lose.
	missing := v.Want - fixed + (v.Want-fixed+19)/20 - spot
	if missing > 0 {
		orders = choosePriceDepth(&d.spotOnly, v, missing, orders)
	} else if missing < 0 {
		orders = shrink(v, -missing, orders)
	}
	return orders, v.Now + dualTick
}

// uniformProgress spends an error budget at an even pace, as Uniform Progress
// spends a deadline's slack: spot alone while less was missed than the objective
// allows up to now, on-demand machines in place of missing ones otherwise.
type uniformProgress struct {
	spotOnly
	behind bool
}

func (u *uniformProgress) Start(m *Market) {
	u.choose = chooseNext
	u.spotOnly.Start(m)
}

func (u *uniformProgress) Decide(v *View, orders []Order) ([]Order, Time) {
	u.note(v)
	allowed := (1 - u.m.Objective) * float64(v.Now)
	switch ahead := allowed - float64(v.Unserved); {
	case ahead < 0:
		u.behind = true
	case ahead > 2*float64(u.m.Timing.Lead):
		u.behind = false // hysteresis: two launches' worth of slack
	}
	spotReady := v.Ready - v.OnDemand.Ready
	missing := v.Want - spotReady - (v.Starting - v.OnDemand.Starting)
	if missing > 0 {
		orders = chooseNext(&u.spotOnly, v, missing, orders)
	}
	fixed := int32(0)
	if u.behind {
		fixed = max(0, v.Want-spotReady)
	}
	return wantOnDemand(v, fixed, orders), v.Now + retryPause
}
