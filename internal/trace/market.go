package trace

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// A Market is what a fleet can buy over a span of time: pools, how many machines
// each could give, and at which price. It is what the simulator plays.
//
// Where a Trace keeps ticks as its source has them, a Market keeps moments, so
// that pools of different sources fit together. It does not know of notices, of
// launch times, or of who holds which machine.
type Market struct {
	Name  string
	Start time.Time // what the clock said at zero; zero if the source does not say
	Span  time.Duration
	Pools []Offer // by name
}

// An Offer is one pool of a Market: one instance type in one zone.
type Offer struct {
	Region, Zone, InstanceType string

	OnDemand price.Micros // an hour
	// Spot is the price of an hour, in price.Micros. Never empty in a Market.
	Spot Series
	// Capacity is how many machines the pool can hold. A step down is a reclaim
	// of those that are too many; see ReclaimLag for when within it each goes.
	// Never empty in a Market. Unlimited where the source knows only yes or no.
	Capacity Series
}

// Unlimited is the capacity of a pool that has some, when nothing says how much.
const Unlimited = math.MaxInt32

// Name is how files name the pool: zone/instance-type.
func (o *Offer) Name() string { return o.Zone + "/" + o.InstanceType }

// A Series is a value over time: each step holds from its moment until the next
// one. Steps ascend in time, no two neighbours have the same value, and the
// first step of a complete series is at zero.
type Series []Step

// A Step is what a Series is from a moment on.
type Step struct {
	At    time.Duration
	Value int64
}

// At returns the value at a moment, and 0 before the first step.
func (s Series) At(at time.Duration) int64 {
	i := sort.Search(len(s), func(i int) bool { return s[i].At > at })
	if i == 0 {
		return 0
	}
	return s[i-1].Value
}

// Next returns the first step after a moment.
func (s Series) Next(after time.Duration) (Step, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].At > after })
	if i == len(s) {
		return Step{}, false
	}
	return s[i], true
}

// Mean returns the mean of the value over a span of time that is not empty.
func (s Series) Mean(from, to time.Duration) float64 {
	if to <= from {
		return float64(s.At(from))
	}
	sum := 0.0
	for i, step := range s {
		end := to
		if i+1 < len(s) {
			end = min(to, s[i+1].At)
		}
		if start := max(from, step.At); end > start {
			sum += float64(step.Value) * float64(end-start)
		}
	}
	return sum / float64(to-from)
}

// Window returns what holds in [from, to), with from as the new zero.
func (s Series) Window(from, to time.Duration) Series {
	if to <= from || len(s) == 0 {
		return nil
	}
	first := sort.Search(len(s), func(i int) bool { return s[i].At > from })
	out := Series{}
	if first > 0 {
		out = append(out, Step{Value: s[first-1].Value})
	}
	for _, step := range s[first:] {
		if step.At >= to {
			break
		}
		out = append(out, Step{At: step.At - from, Value: step.Value})
	}
	return out
}

// set appends a step unless it says what already holds. Of two steps at the same
// moment the later one stays.
func (s Series) set(at time.Duration, v int64) Series {
	if n := len(s); n > 0 && s[n-1].At == at {
		s = s[:n-1]
	}
	if n := len(s); n > 0 && s[n-1].Value == v {
		return s
	}
	return append(s, Step{At: at, Value: v})
}

// Window returns the market in [from, to), with from as the new zero.
func (m *Market) Window(from, to time.Duration) *Market {
	to = min(to, m.Span)
	w := &Market{Name: m.Name, Span: max(0, to-from), Pools: make([]Offer, len(m.Pools))}
	if !m.Start.IsZero() {
		w.Start = m.Start.Add(from)
	}
	for i, o := range m.Pools {
		o.Spot = o.Spot.Window(from, to)
		o.Capacity = o.Capacity.Window(from, to)
		w.Pools[i] = o
	}
	return w
}

// Pool returns the pool with a name.
func (m *Market) Pool(name string) (*Offer, bool) {
	for i := range m.Pools {
		if m.Pools[i].Name() == name {
			return &m.Pools[i], true
		}
	}
	return nil, false
}

// Check reports the first thing in which the market is not what its
// documentation says. Readers and the generator make none that fails it; it is
// for markets that are put together by hand.
func (m *Market) Check() error {
	if len(m.Pools) == 0 {
		return fmt.Errorf("market %s: no pools", m.Name)
	}
	if m.Span <= 0 {
		return fmt.Errorf("market %s: no time", m.Name)
	}
	for i := range m.Pools {
		o := &m.Pools[i]
		err := errors.Join(o.Capacity.check("capacity", 0, Unlimited), o.Spot.check("spot price", 1, math.MaxInt64))
		if err == nil && o.OnDemand <= 0 {
			err = errors.New("no on-demand price")
		}
		if err == nil && i > 0 && m.Pools[i-1].Name() >= o.Name() {
			err = errors.New("out of order, or there twice")
		}
		if err != nil {
			return fmt.Errorf("market %s: pool %s: %w", m.Name, o.Name(), err)
		}
	}
	return nil
}

func (s Series) check(what string, least, most int64) error {
	if len(s) == 0 || s[0].At != 0 {
		return fmt.Errorf("%s: does not begin at zero", what)
	}
	for i, step := range s {
		if step.Value < least || step.Value > most {
			return fmt.Errorf("%s: %d at %v", what, step.Value, step.At)
		}
		if i > 0 && (step.At <= s[i-1].At || step.Value == s[i-1].Value) {
			return fmt.Errorf("%s: the steps at %v and %v are not in order", what, s[i-1].At, step.At)
		}
	}
	return nil
}

// Market returns the trace as a market. Pools that have no price of their own
// need one in the table. Pools begin and end together: what not every pool
// covers is left out.
func (t *Trace) Market(prices *price.Table) (*Market, error) {
	if len(t.Pools) == 0 {
		return nil, fmt.Errorf("%s: no pools", t.Name)
	}
	from, to := t.Pools[0].Start(), t.Pools[0].End()
	for i := range t.Pools {
		from, to = max(from, t.Pools[i].Start()), min(to, t.Pools[i].End())
	}
	if to <= from {
		return nil, fmt.Errorf("%s: there is no time that all %d pools cover", t.Name, len(t.Pools))
	}
	m := &Market{Name: t.Name, Span: to - from}
	for i := range t.Pools {
		p := &t.Pools[i]
		o := Offer{Region: p.Region, Zone: p.Zone, InstanceType: p.InstanceType}
		onDemand, spot, err := p.prices(prices)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		o.OnDemand, o.Spot = onDemand, Series{{Value: int64(spot)}}
		var capacity Series
		for _, c := range p.Changes {
			v := int64(0)
			if c.Available {
				v = Unlimited
			}
			capacity = capacity.set(p.at(c.Tick), v)
		}
		o.Capacity = capacity.Window(from, to)
		m.Pools = append(m.Pools, o)
	}
	slices.SortFunc(m.Pools, func(a, b Offer) int { return cmp.Or(strings.Compare(a.Name(), b.Name())) })
	return m, nil
}

// prices takes the pool's own prices before those of a table, which may be nil.
func (p *Pool) prices(table *price.Table) (onDemand, spot price.Micros, err error) {
	if table == nil {
		table = new(price.Table)
	}
	micros := func(usd float64) price.Micros { return price.Micros(math.Round(usd * float64(price.Dollar))) }
	if onDemand = micros(p.OnDemandPerHour); onDemand == 0 {
		q, ok := table.OnDemand(p.InstanceType, p.Region)
		if !ok {
			return 0, 0, fmt.Errorf("pool %s: neither the trace nor the price table has its on-demand price", p.Name())
		}
		onDemand = q.PerHour
	}
	if spot = micros(p.SpotPerHour); spot == 0 {
		q, ok := table.Spot(p.InstanceType, p.Region, p.Zone)
		if !ok {
			return 0, 0, fmt.Errorf("pool %s: neither the trace nor the price table has its spot price", p.Name())
		}
		spot = q.PerHour
	}
	return onDemand, spot, nil
}

// ReclaimSpread is how long it takes until a reclaim has taken every machine of
// a pool: machines of one type and zone go within three minutes of each other.
const ReclaimSpread = 3 * time.Minute

// ReclaimLag returns when within a reclaim one machine goes: a moment in
// [0, ReclaimSpread), the same for the same arguments. The first machine of a
// reclaim is the one that made it known, so a caller that wants the outage to
// begin with a machine gives number 0.
func ReclaimLag(seed uint64, pool string, at time.Duration, number int) time.Duration {
	if number == 0 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(pool)) // never fails
	return time.Duration(mix(mix(mix(seed^h.Sum64())^uint64(at))^uint64(number)) % uint64(ReclaimSpread))
}

// mix spreads the bits of a number over all of it (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
