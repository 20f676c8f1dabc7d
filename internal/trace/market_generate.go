package trace

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// MarketConfig says what market to generate. The zero value of every field but
// Seed and Pools stands for its default.
//
// A pool has capacity while five things are up: the whole cloud, its region, its
// instance type in that region, its zone, and itself. Each goes down and comes
// back by chance, at constant rates. What two pools share makes them go
// together, so the correlation wanted between two pools says how much of the
// time what they share is down.
type MarketConfig struct {
	Seed  uint64
	Pools []PoolConfig
	Span  time.Duration // defaults to 90 days

	// Outage is how long a pool without capacity stays so, on average.
	Outage time.Duration // defaults to DefaultOutage

	// Correlation of the availability of two pools: of different regions; of one
	// region; of one type in two zones of a region; of two types in one zone.
	// Each is at least the one before, SameType and SameZone at least Region.
	Across, Region, SameType, SameZone float64

	// Together is the share of a pool's reclaims at which another pool is
	// reclaimed as well, by what they share; the same order as above.
	TogetherAcross, TogetherRegion, TogetherType, TogetherZone float64

	// PriceChanges is how often a day a spot price changes, PriceStep the median
	// size of a change, relative to the price.
	PriceChanges, PriceStep float64
}

// A PoolConfig is one pool to generate.
type PoolConfig struct {
	Region, Zone, InstanceType string
	OnDemand, Spot             price.Micros // an hour; Spot is what the price varies around

	// Hazard is the rate of reclaims, a day of a node that runs there: that of a
	// price.Band, or GPUHazard.
	Hazard float64
	// Depth is how many machines the pool holds while it has capacity; 0 for
	// Unlimited.
	Depth int
}

// What a market is like that says nothing else.
const (
	DefaultMarketSpan = 90 * 24 * time.Hour
	DefaultOutage     = time.Hour // measured 0.3-3.3 h, us-west-2 0.82 h and 0.88 h

	DefaultAcross = 0.10 // measured 0.01-0.20 between regions
	DefaultRegion = 0.45 // measured 0.38-0.57 between zones, one type
	// DefaultSameZone: what two types share that also share a zone is not
	// measured for CPU types; the five GPU pools of 2022 show -0.01 to 0.24
	// between types, zone or not. The default takes all of a region together, a
	// little more in a zone: for a fleet that counts on diversity this is the
	// pessimistic side.
	DefaultSameZone = 0.50

	DefaultTogetherAcross = 0.02 // measured 0.00-0.04
	DefaultTogetherRegion = 0.15 // measured 0.04-0.24 within 3 min, 0.12-0.36 within 10 min
	DefaultTogetherZone   = 0.20

	DefaultPriceChanges = 1.8
	DefaultPriceStep    = 0.008

	// GPUHazard is the hazard of a scarce accelerator's pool.
	GPUHazard = 3.0
)

// GenerateMarket makes up a market. The same config gives the same market, bit
// for bit, and a pool's history stays as it is when pools of no greater hazard
// are added.
//
// Pools of unequal hazard share the outages of what they have in common by
// strength: the one that is reclaimed most feels every outage, another one the
// stronger ones only, in proportion to its hazard.
//
// What it leaves out: real stretches vary more than the exponential ones here
// (standard deviation 1.5-2.9 times the mean, not 1), pools in which a part of
// the machines goes, and prices that follow scarcity.
func GenerateMarket(c MarketConfig) (*Market, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("generating a market: %w", err)
	}
	g := marketGenerator{config: c, shared: make(map[string][]outage)}
	g.solve()
	m := &Market{Name: GeneratedName, Span: c.Span, Pools: make([]Offer, 0, len(c.Pools))}
	for _, p := range c.Pools {
		m.Pools = append(m.Pools, g.offer(p))
	}
	slices.SortFunc(m.Pools, func(a, b Offer) int { return strings.Compare(a.Name(), b.Name()) })
	for i := range m.Pools {
		if i > 0 && m.Pools[i-1].Name() == m.Pools[i].Name() {
			return nil, fmt.Errorf("generating a market: pool %s is there twice", m.Pools[i].Name())
		}
	}
	return m, nil
}

func (c MarketConfig) withDefaults() MarketConfig {
	setDefault(&c.Span, DefaultMarketSpan)
	setDefault(&c.Outage, DefaultOutage)
	setDefault(&c.Across, DefaultAcross)
	setDefault(&c.Region, DefaultRegion)
	setDefault(&c.SameType, c.Region)
	setDefault(&c.SameZone, max(c.Region, DefaultSameZone))
	setDefault(&c.TogetherAcross, DefaultTogetherAcross)
	setDefault(&c.TogetherRegion, DefaultTogetherRegion)
	setDefault(&c.TogetherType, c.TogetherRegion)
	setDefault(&c.TogetherZone, max(c.TogetherRegion, DefaultTogetherZone))
	setDefault(&c.PriceChanges, DefaultPriceChanges)
	setDefault(&c.PriceStep, DefaultPriceStep)
	return c
}

func (c MarketConfig) check() error {
	ascending := func(across, region, sameType, sameZone float64) bool {
		return across >= 0 && region >= across && sameType >= region && sameZone >= region && sameType+sameZone-region <= 0.99
	}
	switch {
	case len(c.Pools) == 0:
		return errors.New("no pools")
	case c.Span < time.Hour || c.Span > maxMarketSpan:
		return fmt.Errorf("span %v is not 1 hour to 200 years", c.Span)
	case c.Outage < time.Minute || c.Outage > 30*24*time.Hour:
		return fmt.Errorf("a mean outage of %v is not 1 minute to 30 days", c.Outage)
	case !ascending(c.Across, c.Region, c.SameType, c.SameZone):
		return errors.New("the correlations are not 0 <= across <= region <= same type and same zone, together at most 0.99")
	case !ascending(c.TogetherAcross, c.TogetherRegion, c.TogetherType, c.TogetherZone):
		return errors.New("the shares of common reclaims are not 0 <= across <= region <= type and zone, together at most 0.99")
	case !(c.PriceChanges >= 0 && c.PriceChanges <= 1000 && c.PriceStep > 0 && c.PriceStep < 0.5):
		return fmt.Errorf("%v price changes a day of %v each are not a slow price", c.PriceChanges, c.PriceStep)
	}
	for _, p := range c.Pools {
		switch {
		case p.Zone == "" || p.InstanceType == "" || p.Region == "":
			return errors.New("a pool without region, zone or instance type")
		case !(p.Hazard > 0 && p.Hazard <= 100):
			return fmt.Errorf("pool %s/%s: a hazard of %v a day is not above 0, at most 100", p.Zone, p.InstanceType, p.Hazard)
		case p.Spot <= 0 || p.OnDemand <= 0 || p.Depth < 0 || p.Depth > Unlimited:
			return fmt.Errorf("pool %s/%s: prices of %s and %s and a depth of %d make no pool", p.Zone, p.InstanceType, p.OnDemand, p.Spot, p.Depth)
		}
	}
	return nil
}

// maxMarketSpan leaves room to add outages inside a time.Duration.
const maxMarketSpan = 200 * 365 * 24 * time.Hour

// The five things that a pool needs.
const (
	cloud = iota
	region
	regionType
	zone
	own
	levels
)

type marketGenerator struct {
	config MarketConfig
	chains [levels]process
	worst  float64             // the greatest hazard
	shared map[string][]outage // of all but own, by name
}

// A process goes down after a mean of up and comes back after a mean of down,
// both exponential. One whose up is zero never goes down.
type process struct{ up, down float64 } // seconds

// An outage is a time in which something is down. Its strength is uniform in
// [0, 1): it is felt by whoever's threshold is above it.
type outage struct {
	from, to time.Duration
	strength float64
}

// solve finds the rates of the five processes for the pool of the greatest
// hazard; the others take a part of the outages.
//
// With a the pool's availability and g the share of time that what two pools
// share is up, both are up a*a/g of the time, so that their correlation is
// a*(1/g-1)/(1-a), which gives g = a/(a+correlation*(1-a)). What they share is
// the product of its parts, so each part's own share is a quotient of two such g.
// The pool's own part is what is left.
//
// A part that is up g of the time and causes the given share of the reclaims,
// share*hazard a day, stays down for (1/g-1)/(share*hazard).
func (g *marketGenerator) solve() {
	c := g.config
	for _, p := range c.Pools {
		g.worst = max(g.worst, p.Hazard)
	}
	perSecond := g.worst / (24 * 60 * 60)
	a := 1 / (1 + perSecond*c.Outage.Seconds())
	up := func(correlation float64) float64 { return a / (a + correlation*(1-a)) }

	ups := [levels]float64{
		cloud:      up(c.Across),
		region:     up(c.Region) / up(c.Across),
		regionType: up(c.SameType) / up(c.Region),
		zone:       up(c.SameZone) / up(c.Region),
	}
	shares := [levels]float64{
		cloud:      c.TogetherAcross,
		region:     c.TogetherRegion - c.TogetherAcross,
		regionType: c.TogetherType - c.TogetherRegion,
		zone:       c.TogetherZone - c.TogetherRegion,
	}
	left, rest := a, 1.0
	for level := range own {
		if ups[level] >= 1 || shares[level] <= 0 {
			continue
		}
		left /= ups[level]
		rest -= shares[level]
		g.chains[level] = newProcess(ups[level], shares[level]*perSecond)
	}
	// The rest may be up all the time if the shared parts already explain a.
	g.chains[own] = newProcess(min(left, 1), rest*perSecond)
}

func newProcess(up, rate float64) process {
	if up >= 1 {
		return process{}
	}
	return process{up: 1 / rate, down: (1/up - 1) / rate}
}

// offer makes the history of one pool.
func (g *marketGenerator) offer(p PoolConfig) Offer {
	o := Offer{Region: p.Region, Zone: p.Zone, InstanceType: p.InstanceType, OnDemand: p.OnDemand}
	threshold := p.Hazard / g.worst
	var down []outage
	for level, name := range [own]string{"cloud", "region " + p.Region, "type " + p.Region + "/" + p.InstanceType, "zone " + p.Zone} {
		down = append(down, felt(g.outages(level, name), threshold)...)
	}
	name := o.Name()
	down = append(down, felt(g.outages(own, "pool "+name), threshold)...)
	slices.SortFunc(down, func(a, b outage) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })

	depth := int64(p.Depth)
	if depth == 0 {
		depth = Unlimited
	}
	o.Capacity = capacityOf(down, depth, g.config.Span)
	o.Spot = g.prices(p, name)
	return o
}

func felt(outages []outage, threshold float64) []outage {
	return slices.DeleteFunc(slices.Clone(outages), func(o outage) bool { return o.strength >= threshold })
}

// capacityOf turns outages, by their beginning, into steps.
func capacityOf(down []outage, depth int64, span time.Duration) Series {
	s := Series{{Value: depth}}
	for i := 0; i < len(down); {
		from, to := down[i].from, down[i].to
		for i++; i < len(down) && down[i].from <= to; i++ {
			to = max(to, down[i].to)
		}
		s = s.set(from, 0)
		if to < span {
			s = s.set(to, depth)
		}
	}
	return s
}

// outages returns when something is down. Every name has its own stream of
// randomness; what is shared is played once.
func (g *marketGenerator) outages(level int, name string) []outage {
	if out, ok := g.shared[name]; ok {
		return out
	}
	out := g.chains[level].play(stream(g.config.Seed, name), g.config.Span)
	if level != own {
		g.shared[name] = out
	}
	return out
}

func (p process) play(random *rand.Rand, span time.Duration) []outage {
	if p.up == 0 {
		return nil
	}
	var out []outage
	wait := func(mean float64) time.Duration { // whole seconds, at least one
		// Thirty years are as good as never, and cannot overflow.
		return time.Duration(min(1e9, 1+float64(random.ExpFloat64()*mean))) * time.Second
	}
	at := time.Duration(0)
	if random.Float64() < p.up/(p.up+p.down) {
		at = wait(p.up)
	}
	for at < span {
		o := outage{from: at, to: at + wait(p.down), strength: random.Float64()}
		out = append(out, o)
		at = o.to + wait(p.up)
	}
	return out
}

// prices makes the history of a spot price: changes at a constant rate, whose
// sizes are exponential, up or down, the more likely towards where the price
// belongs the further it has gone.
func (g *marketGenerator) prices(p PoolConfig, name string) Series {
	const pull = 4 // a price a quarter off only steps back
	random := stream(g.config.Seed, "price "+name)
	s := Series{{Value: int64(p.Spot)}}
	if g.config.PriceChanges == 0 {
		return s
	}
	meanWait := 24 * 60 * 60 / g.config.PriceChanges
	meanStep := g.config.PriceStep / math.Ln2 // the median of an exponential is ln 2 times its mean
	current := float64(p.Spot)
	for at := time.Duration(0); ; {
		at += time.Duration(1+float64(random.ExpFloat64()*meanWait)) * time.Second
		if at >= g.config.Span {
			return s
		}
		// Conversions keep the compiler from fusing operations, which would round
		// differently on other processors.
		off := current/float64(p.Spot) - 1
		step := 1 + float64(random.ExpFloat64()*meanStep)
		if random.Float64()*2 < 1-float64(pull*off) {
			current *= step
		} else {
			current /= step
		}
		// A change that rounding swallows is still a change of one millionth.
		v := max(1, int64(math.Round(current)))
		if last := s[len(s)-1].Value; v == last {
			v++
		}
		s = s.set(at, v)
	}
}

func stream(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}
