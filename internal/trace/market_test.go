package trace_test

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

const day = 24 * time.Hour

func pool(zone, instanceType string, hazard float64) trace.PoolConfig {
	return trace.PoolConfig{
		Region: price.RegionOf(zone), Zone: zone, InstanceType: instanceType,
		OnDemand: 96_000, Spot: 35_000, Hazard: hazard,
	}
}

func generateMarket(t *testing.T, c trace.MarketConfig) *trace.Market {
	t.Helper()
	m, err := trace.GenerateMarket(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMarketStatistics checks the generator against the numbers that its
// documentation states, over a history long enough for them to show.
func TestMarketStatistics(t *testing.T) {
	for _, hazard := range []float64{trace.GPUHazard, price.Over20.Hazard()} {
		t.Run(fmt.Sprint("hazard ", hazard), func(t *testing.T) {
			m := generateMarket(t, trace.MarketConfig{
				Seed: 1,
				Pools: []trace.PoolConfig{
					pool("us-east-1a", "a.large", hazard), pool("us-east-1a", "b.large", hazard),
					pool("us-east-1b", "a.large", hazard), pool("us-east-1b", "b.large", hazard),
					pool("us-west-2a", "a.large", hazard), pool("us-west-2b", "b.large", hazard),
				},
				// A thousand reclaims and more of each pool.
				Span: time.Duration(min(70_000, 3000*trace.GPUHazard/hazard)) * day,
			})
			for i := range m.Pools {
				a := &m.Pools[i]
				near(t, a.Name()+": hazard, of the one asked for", a.Hazard()/hazard, 1, 0.1)
				near(t, a.Name()+": mean outage hours", a.MeanOutage().Hours(), trace.DefaultOutage.Hours(), 0.15)
				for j := range i {
					b := &m.Pools[j]
					correlation, together := trace.DefaultAcross, trace.DefaultTogetherAcross
					switch {
					case a.Zone == b.Zone:
						correlation, together = trace.DefaultSameZone, trace.DefaultTogetherZone
					case a.Region == b.Region:
						correlation, together = trace.DefaultRegion, trace.DefaultTogetherRegion
					}
					pair := a.Name() + " and " + b.Name()
					near(t, pair+": correlation", a.Correlation(b, m.Span), correlation, 0.08)
					near(t, pair+": together", a.CoInterruption(b, trace.ReclaimSpread), together, 0.05)
				}
			}
		})
	}
}

// TestMarketHazards checks that pools of every advisor band get their hazard,
// beside each other, and go together as far as their difference admits.
func TestMarketHazards(t *testing.T) {
	var pools []trace.PoolConfig
	for b := price.Under5; b.Valid(); b++ {
		pools = append(pools, pool("us-east-1a", fmt.Sprintf("b%d.large", b), b.Hazard()))
	}
	m := generateMarket(t, trace.MarketConfig{Seed: 3, Pools: pools, Span: 49 * 365 * day})
	for i := range m.Pools {
		near(t, m.Pools[i].Name()+": hazard, of the one asked for", m.Pools[i].Hazard()/pools[i].Hazard, 1, 0.35)
	}
	mild, harsh := &m.Pools[0], &m.Pools[4]
	if c := mild.Correlation(harsh, m.Span); c < 0.02 {
		t.Errorf("the mildest and the harshest pool have correlation %.2f", c)
	}
}

// TestMarketPrices checks how often a spot price moves, how far, and that it
// stays where it belongs.
func TestMarketPrices(t *testing.T) {
	m := generateMarket(t, trace.MarketConfig{Seed: 1, Pools: []trace.PoolConfig{pool("us-east-1a", "m5.large", 0.01)}, Span: 3000 * day})
	spot := m.Pools[0].Spot
	var steps []float64
	least, most := spot[0].Value, spot[0].Value
	for i := 1; i < len(spot); i++ {
		steps = append(steps, math.Abs(float64(spot[i].Value)/float64(spot[i-1].Value)-1))
		least, most = min(least, spot[i].Value), max(most, spot[i].Value)
	}
	slices.Sort(steps)
	near(t, "changes a day", float64(len(steps))/3000, trace.DefaultPriceChanges, 0.1)
	near(t, "median step", steps[len(steps)/2], trace.DefaultPriceStep, 0.0005)
	near(t, "mean price", spot.Mean(0, m.Span)/35_000, 1, 0.05)
	t.Logf("price from %v to %v", price.Micros(least), price.Micros(most))
	if least < 25_000 || most > 46_000 {
		t.Errorf("price from %v to %v strays from 0.0350", price.Micros(least), price.Micros(most))
	}
}

func TestMarketIsDeterministic(t *testing.T) {
	a, b, c := pool("us-east-1a", "m5.large", 0.01), pool("us-east-1b", "m5.large", 0.005), pool("us-west-2a", "m5.large", 0.008)
	generate := func(seed uint64, pools ...trace.PoolConfig) *trace.Market {
		return generateMarket(t, trace.MarketConfig{Seed: seed, Pools: pools, Span: 3650 * day})
	}
	one := generate(7, a, b)
	if !reflect.DeepEqual(one, generate(7, b, a)) {
		t.Error("the same seed gave another market")
	}
	if reflect.DeepEqual(one, generate(8, a, b)) {
		t.Error("another seed gave the same market")
	}
	if more := generate(7, c, a, b); !reflect.DeepEqual(more.Pools[:2], one.Pools) {
		t.Error("another pool changed the histories of the first two")
	}
}

func TestMarketRefuses(t *testing.T) {
	ok := pool("us-east-1a", "m5.large", 0.01)
	tests := map[string]trace.MarketConfig{
		"no pools":                {},
		"the same pool twice":     {Pools: []trace.PoolConfig{ok, ok}},
		"no hazard":               {Pools: []trace.PoolConfig{pool("us-east-1a", "m5.large", 0)}},
		"hazard is not a number":  {Pools: []trace.PoolConfig{pool("us-east-1a", "m5.large", math.NaN())}},
		"no zone":                 {Pools: []trace.PoolConfig{{Region: "r", InstanceType: "t", OnDemand: 1, Spot: 1, Hazard: 1}}},
		"no price":                {Pools: []trace.PoolConfig{{Region: "r", Zone: "z", InstanceType: "t", OnDemand: 1, Hazard: 1}}},
		"no time":                 {Pools: []trace.PoolConfig{ok}, Span: time.Second},
		"across more than region": {Pools: []trace.PoolConfig{ok}, Across: 0.6},
		"always together":         {Pools: []trace.PoolConfig{ok}, TogetherZone: 1},
		"wild prices":             {Pools: []trace.PoolConfig{ok}, PriceStep: 0.9},
		"outage of a second":      {Pools: []trace.PoolConfig{ok}, Outage: time.Second},
	}
	for name, c := range tests {
		if _, err := trace.GenerateMarket(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSeries(t *testing.T) {
	s := trace.Series{{0, 5}, {10, 0}, {20, 5}}
	for at, want := range map[time.Duration]int64{-1: 0, 0: 5, 9: 5, 10: 0, 19: 0, 20: 5, 99: 5} {
		if got := s.At(at); got != want {
			t.Errorf("at %d: %d, want %d", at, got, want)
		}
	}
	if got := s.Mean(5, 25); got != 2.5 {
		t.Errorf("mean = %v, want 2.5", got)
	}
	for _, tt := range []struct {
		from, to time.Duration
		want     trace.Series
	}{
		{0, 30, s},
		{0, 20, trace.Series{{0, 5}, {10, 0}}},
		{10, 20, trace.Series{{0, 0}}},
		{15, 25, trace.Series{{0, 0}, {5, 5}}},
		{20, 20, nil},
	} {
		if got := s.Window(tt.from, tt.to); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("window %d-%d = %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
	if next, ok := s.Next(10); !ok || next.At != 20 {
		t.Errorf("next after 10 = %v, %v", next, ok)
	}
	if _, ok := s.Next(20); ok {
		t.Error("there is a step after the last")
	}
}

func TestReclaimLag(t *testing.T) {
	var last time.Duration
	for i := range 1000 {
		lag := trace.ReclaimLag(1, "us-east-1a/m5.large", time.Hour, i)
		if lag != trace.ReclaimLag(1, "us-east-1a/m5.large", time.Hour, i) {
			t.Fatal("not the same twice")
		}
		if lag < 0 || lag >= trace.ReclaimSpread {
			t.Fatalf("lag %v", lag)
		}
		last = max(last, lag)
	}
	if last < trace.ReclaimSpread*9/10 {
		t.Errorf("the last of 1000 machines goes after %v", last)
	}
}

func BenchmarkGenerateMarket(b *testing.B) {
	for name, hazard := range map[string]float64{"cpu": 0.005, "gpu": trace.GPUHazard} {
		b.Run(name, func(b *testing.B) {
			var pools []trace.PoolConfig
			for i := range 500 {
				pools = append(pools, pool(fmt.Sprintf("us-east-%d%c", i%4, 'a'+i/4%4), fmt.Sprintf("t%d.large", i), hazard))
			}
			for b.Loop() {
				if _, err := trace.GenerateMarket(trace.MarketConfig{Seed: 1, Pools: pools}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
