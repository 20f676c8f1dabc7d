package trace

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// GeneratorConfig says what to generate. The zero value of every field but Seed
// stands for its default. The statistics default to what the two us-west-2
// pools of the published AWS histories show (p3.2xlarge,
// 2023-02-16 on, 35.8 days, tick 195 s; Wu et al., "Can't Be Late", NSDI 2024):
// the region of that set in which one would run services at all. The other
// regions of the set are harsher: availability 0.18-0.77, mean up time
// 0.75-6.2 h.
type GeneratorConfig struct {
	Seed uint64

	// Zones to generate one pool each for. A zone's region is its name without
	// the letter at its end. Defaults to us-east-1a, b and c.
	Zones []string
	// InstanceType defaults to m5.large.
	InstanceType string
	// Prices in USD an hour; 0.096 and 0.035 by default.
	OnDemandPerHour, SpotPerHour float64
	// Tick defaults to DefaultTick, Span to 36 days.
	Tick, Span time.Duration

	// Availability is each pool's share of time with capacity.
	Availability float64 // defaults to DefaultAvailability
	// MeanUp is the mean length of a stretch with capacity.
	MeanUp time.Duration // defaults to DefaultMeanUp
	// Correlation of the availability of two zones of one region.
	Correlation float64 // defaults to DefaultCorrelation
	// CoInterruption is the share of a pool's reclaims at which another given
	// zone of the region is reclaimed in the same tick.
	CoInterruption float64 // defaults to DefaultCoInterruption
}

// The statistics of the generator, each beside what was measured.
const (
	DefaultAvailability   = 0.87                         // us-west-2a 0.867, us-west-2c 0.877
	DefaultMeanUp         = 5*time.Hour + 49*time.Minute // 5.36 h and 6.28 h
	DefaultCorrelation    = 0.47                         // us-west-2 0.47; us-east-2 0.57; us-east-1 0.38, 0.40, 0.53
	DefaultCoInterruption = 0.24                         // us-west-2 62 of 259 reclaims; us-east-2 0.15; us-east-1 0.04-0.12
)

// GeneratedName is the Name of generated traces.
const GeneratedName = "generated"

// Generate makes up a trace. A pool has capacity while both its region and its
// zone have, each of which is a Markov chain of its own that is up and down for
// geometric times. The shared chain makes zones of one region go together;
// zones of different regions are independent (measured: correlation at most
// 0.20). The four statistics determine the four rates, see rates.
//
// What it leaves out: real stretches vary more (their standard deviation is
// 1.5-2.9 times the mean; geometric: 1 time), so real traces have quieter weeks
// and denser bad days than generated ones.
//
// The same config gives the same trace, and adding a zone leaves the others as
// they were.
func Generate(c GeneratorConfig) (*Trace, error) {
	c = c.withDefaults()
	region, zone, err := c.rates()
	if err != nil {
		return nil, err
	}
	ticks := int(c.Span / c.Tick)
	regions := make(map[string][]bool)
	t := &Trace{Name: GeneratedName}
	for _, name := range c.Zones {
		p := Pool{
			Region: regionOf(name), Zone: name, InstanceType: c.InstanceType,
			OnDemandPerHour: c.OnDemandPerHour, SpotPerHour: c.SpotPerHour,
			Tick: c.Tick, Ticks: ticks,
		}
		if _, ok := t.Pool(p.Name()); ok {
			return nil, fmt.Errorf("generating a trace: zone %q is there twice", name)
		}
		if regions[p.Region] == nil {
			regions[p.Region] = region.play(c.Seed, "region "+p.Region, ticks)
		}
		up := zone.play(c.Seed, "zone "+name, ticks)
		for i := range up {
			available := up[i] && regions[p.Region][i]
			if n := len(p.Changes); n == 0 || p.Changes[n-1].Available != available {
				p.Changes = append(p.Changes, Change{Tick: i, Available: available})
			}
		}
		t.Pools = append(t.Pools, p)
	}
	slices.SortFunc(t.Pools, func(a, b Pool) int { return strings.Compare(a.Name(), b.Name()) })
	return t, nil
}

func (c GeneratorConfig) withDefaults() GeneratorConfig {
	if len(c.Zones) == 0 {
		c.Zones = []string{"us-east-1a", "us-east-1b", "us-east-1c"}
	}
	setDefault(&c.InstanceType, "m5.large")
	setDefault(&c.OnDemandPerHour, 0.096)
	setDefault(&c.SpotPerHour, 0.035)
	setDefault(&c.Tick, DefaultTick)
	setDefault(&c.Span, 36*24*time.Hour)
	setDefault(&c.Availability, DefaultAvailability)
	setDefault(&c.MeanUp, DefaultMeanUp)
	setDefault(&c.Correlation, DefaultCorrelation)
	setDefault(&c.CoInterruption, DefaultCoInterruption)
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A chain is up or down; each tick it may change. It is stationary: in any tick
// it is up with probability recover/(fail+recover).
type chain struct{ fail, recover float64 }

// rates solves for the chains of a region and of a zone.
//
// With r and z the shares of time that they are up, a pool's availability is
// a = r*z. Two zones are up together r*z*z of the time, so that their
// correlation is (r*z*z - a*a) / (a*(1-a)), which gives z = a + correlation*(1-a).
// A stretch ends with probability h = 1/(its mean length in ticks) each tick:
// when the region fails or the zone does. Of these ends, the region's share
// takes another zone with it if that one is up, which it is z of the time.
func (c GeneratorConfig) rates() (region, zone chain, err error) {
	switch a, corr, co := c.Availability, c.Correlation, c.CoInterruption; {
	case c.Tick < time.Second || c.Span < c.Tick || c.Span > maxSpan:
		err = fmt.Errorf("tick %v and span %v do not make a history of 1 tick to 50 years", c.Tick, c.Span)
	case !(a > 0 && a < 1), !(corr > 0 && corr < 1), !(co > 0 && co < 1):
		err = errors.New("availability, correlation and co-interruption must lie between 0 and 1")
	case c.MeanUp < c.Tick:
		err = fmt.Errorf("mean up time %v is shorter than a tick of %v", c.MeanUp, c.Tick)
	}
	if err != nil {
		return region, zone, fmt.Errorf("generating a trace: %w", err)
	}

	z := c.Availability + c.Correlation*(1-c.Availability)
	r := c.Availability / z
	h := float64(c.Tick) / float64(c.MeanUp)
	region.fail = c.CoInterruption * h / z
	zone.fail = 1 - (1-h)/(1-region.fail)
	region.recover = region.fail * r / (1 - r)
	zone.recover = zone.fail * z / (1 - z)
	for _, ch := range []chain{region, zone} {
		if !(ch.fail > 0 && ch.fail < 1 && ch.recover > 0 && ch.recover <= 1) {
			return region, zone, fmt.Errorf("generating a trace: no history has availability %v, mean up time %v, correlation %v and co-interruption %v at a tick of %v",
				c.Availability, c.MeanUp, c.Correlation, c.CoInterruption, c.Tick)
		}
	}
	return region, zone, nil
}

// play runs the chain from its stationary state. The name picks its own stream
// of randomness, so that what else is generated does not matter.
func (ch chain) play(seed uint64, name string, ticks int) []bool {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	random := rand.New(rand.NewPCG(seed, h.Sum64()))
	up := random.Float64() < ch.recover/(ch.fail+ch.recover)
	states := make([]bool, ticks)
	for i := range states {
		states[i] = up
		if up {
			up = random.Float64() >= ch.fail
		} else {
			up = random.Float64() < ch.recover
		}
	}
	return states
}
