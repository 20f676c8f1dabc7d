// Package plan plays a platform's pools against histories of spot capacity, and
// says from that how each pool should be bought.
//
// A pool of the platform file becomes a market: each of its instance types in each
// of its zones is one pool of the cloud. Histories are either given, or generated
// from what the cloud's advisor says of the types. The figures are package sim's and
// the decisions package provision's; what is decided here is which of many ways
// to run a pool is the cheapest that keeps its objective.
package plan

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// Options say what is played.
type Options struct {
	Prices *price.Table
	// Traces are histories to play. Without any, Seeds are generated for each pool.
	Traces []*trace.Trace
	// Days of a generated history. Defaults to 90.
	Days int
	// Seeds is how many histories are generated. Defaults to 3.
	Seeds int
	Seed  uint64
	// Lead is how long a machine takes until its pods are ready. Defaults to that of
	// sim.DefaultTiming.
	Lead time.Duration
	// Objective is the share of time with enough machines. Defaults to 0.9995.
	Objective float64
	// StockOut is the share of time in which on-demand machines are refused.
	StockOut float64
	// Candidates is how many ways to run a pool Advise tries. Defaults to 27, which
	// vary what matters most.
	Candidates int
	// Widen says that Advise may add instance types that a pool does not name.
	Widen bool
	// Samples is how many moments of each run are kept for a plot.
	Samples int
	// Progress is told how many runs of how many are done. It may be nil, and is
	// called by one goroutine at a time.
	Progress func(done, total int)

	halves bool // outcomes are also judged by halves
}

func (o Options) withDefaults() Options {
	o.Days, o.Seeds = cmp.Or(o.Days, 90), cmp.Or(o.Seeds, 3)
	o.Candidates = cmp.Or(o.Candidates, len(base()))
	o.Lead = cmp.Or(o.Lead, time.Duration(sim.DefaultTiming().Lead)*time.Second)
	o.Objective = cmp.Or(o.Objective, 0.9995)
	if o.Prices == nil {
		o.Prices = price.Builtin()
	}
	return o
}

// Case is a spot pool of the platform, ready to be played.
type Case struct {
	Pool   string
	Nodes  int
	Worlds []*sim.World // one a history
	Notes  []string     // what was assumed
	// AllOnDemand is what a month costs with all machines on demand, as package bill
	// has it.
	AllOnDemand price.Micros

	platform *spec.Platform
	types    []bill.Type // that are played; the first ones are named by the file
	named    int
	rejected []TypeAdvice
	narrow   *Case // with the named types alone, if there are others
}

// Cases makes the platform's spot pools ready. A pool that wants no machines is
// left out, and said so in the notes.
func Cases(p *spec.Platform, o Options) ([]Case, []string, error) {
	o = o.withDefaults()
	b, err := bill.Of(p, o.Prices)
	if err != nil {
		return nil, nil, err
	}
	var cases []Case
	var notes []string
	for i, pool := range p.Pools {
		switch {
		case pool.Capacity != spec.Spot:
			continue
		case pool.Desired < 1:
			notes = append(notes, fmt.Sprintf("pool %s wants no machines and is left out", pool.Name))
			continue
		}
		types, rejected := fit(b.Pools[i].Types, largestPod(p, pool.Name), o.Prices)
		if len(types) == 0 {
			return nil, nil, fmt.Errorf("pool %s: none of its instance types will do: %s %s", pool.Name, rejected[0].Type, rejected[0].Why)
		}
		c := Case{Pool: pool.Name, Nodes: pool.Desired, AllOnDemand: b.Pools[i].Sum.OnDemand, platform: p, types: types, named: len(types), rejected: rejected}
		if err := c.compile(o, pool); err != nil {
			return nil, nil, err
		}
		if o.Widen && len(o.Traces) == 0 {
			if more := wider(p, pool, types, o.Prices); len(more) > 0 {
				narrow := c
				c.narrow, c.types, c.Worlds, c.Notes = &narrow, slices.Concat(types, more), nil, nil
				if err := c.compile(o, pool); err != nil {
					return nil, nil, err
				}
			}
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, nil, fmt.Errorf("the platform has no spot pool with machines: there is nothing to simulate")
	}
	return cases, notes, nil
}

// compile makes the case's histories ready.
func (c *Case) compile(o Options, pool spec.Pool) error {
	markets, notes, err := o.markets(c.platform, pool, c.types)
	if err != nil {
		return fmt.Errorf("pool %s: %w", pool.Name, err)
	}
	c.Notes = append(c.Notes, notes...)
	for _, m := range markets {
		w, err := sim.Compile(m, o.settings(c.platform, pool))
		if err != nil {
			return fmt.Errorf("pool %s: %w", pool.Name, err)
		}
		c.Worlds = append(c.Worlds, w)
	}
	return nil
}

// settings are those of a pool: its pods' grace is the longest of its services'.
func (o Options) settings(p *spec.Platform, pool spec.Pool) sim.Settings {
	t := sim.DefaultTiming()
	t.Notice = sim.Time(p.Cluster.Provider.Notice() / time.Second)
	t.Lead = sim.Time(o.Lead / time.Second)
	if p.Policies.Margin > 0 {
		t.Margin = sim.Time(p.Policies.Margin / time.Second)
	}
	for _, s := range p.Services {
		if slices.Contains(s.Pools, pool.Name) {
			t.Grace = max(t.Grace, sim.Time(s.Drain.Grace/time.Second))
		}
	}
	return sim.Settings{Timing: t, Nodes: pool.Desired, Objective: o.Objective, StockOut: o.StockOut, Seed: o.Seed}
}

// markets are the histories that a pool is played against.
func (o Options) markets(p *spec.Platform, pool spec.Pool, types []bill.Type) ([]*trace.Market, []string, error) {
	zones := pool.Zones
	if len(zones) == 0 {
		zones = p.Cluster.Zones
	}
	if len(o.Traces) > 0 {
		return o.given(types, zones)
	}
	c := trace.MarketConfig{Span: time.Duration(o.Days) * 24 * time.Hour}
	var notes []string
	for _, t := range types {
		hazard := price.Over20.Hazard()
		if a, ok := o.Prices.Advice(t.Name, p.Cluster.Region); ok {
			hazard = a.Band.Hazard()
		} else {
			notes = append(notes, fmt.Sprintf("no advice on %s in %s: taken to be reclaimed as often as the advisor's worst band", t.Name, p.Cluster.Region))
		}
		for _, zone := range zones {
			c.Pools = append(c.Pools, trace.PoolConfig{
				Region: p.Cluster.Region, Zone: zone, InstanceType: t.Name,
				OnDemand: t.OnDemand.PerHour, Spot: t.Spot.PerHour, Hazard: hazard,
			})
		}
	}
	var out []*trace.Market
	for i := range o.Seeds {
		c.Seed = o.Seed + uint64(i)
		m, err := trace.GenerateMarket(c)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, m)
	}
	return out, notes, nil
}

// given picks from the traces what is this pool's. Where none of a trace's pools
// is, all of them stand in: what it shows is then how scarce pools behave, at the
// trace's own prices.
func (o Options) given(types []bill.Type, zones []string) ([]*trace.Market, []string, error) {
	var out []*trace.Market
	var notes []string
	for _, t := range o.Traces {
		own := &trace.Trace{Name: t.Name}
		for _, p := range t.Pools {
			ours := func(b bill.Type) bool { return b.Name == p.InstanceType }
			if slices.Contains(zones, p.Zone) && slices.ContainsFunc(types, ours) {
				own.Pools = append(own.Pools, p)
			}
		}
		if len(own.Pools) == 0 {
			own.Pools = slices.Clone(t.Pools)
			notes = append(notes, fmt.Sprintf("%s has none of its types and zones: its %d pools stand in, at their own prices", t.Name, len(own.Pools)))
		}
		for i := range own.Pools {
			p := &own.Pools[i]
			if p.SpotPerHour == 0 && p.OnDemandPerHour > 0 {
				p.SpotPerHour = p.OnDemandPerHour * assumedShare
				notes = append(notes, fmt.Sprintf("%s has no spot price of %s: taken to be %.0f %% of on demand", t.Name, p.Name(), 100*assumedShare))
			}
		}
		m, err := own.Market(o.Prices)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, m)
	}
	return out, notes, nil
}

// assumedShare is what p3.2xlarge cost on spot, as a share of on demand, in the
// published AWS history: for histories that come without spot prices.
const assumedShare = 0.9731 / 3.06

// Outcome is what one way to run a pool came to.
type Outcome struct {
	Pool string
	sim.Figures
	Result *sim.Result // of all histories together

	chosenOn, judgedOn sim.Figures        // of the first and the second half of each history's days
	use                map[string]float64 // by instance type: share of the spot machines' time
}

// Simulate plays each strategy for each pool and history.
func Simulate(ctx context.Context, cases []Case, strategies []provision.Strategy, o Options) ([]Outcome, error) {
	o = o.withDefaults()
	var ways []way
	for i := range cases {
		for _, s := range strategies {
			ways = append(ways, way{&cases[i], s.Name, s.New})
		}
	}
	return play(ctx, ways, o)
}

// way is one way to run a pool.
type way struct {
	c    *Case
	name string
	new  func(seed uint64) provision.Policy
}

// play runs every way in every history, on all processors. It returns when all
// runs have ended, in the order of the ways.
func play(ctx context.Context, ways []way, o Options) ([]Outcome, error) {
	type job struct{ way, world int }
	results := make([][]*sim.Result, len(ways))
	var jobs []job
	for i, w := range ways {
		results[i] = make([]*sim.Result, len(w.c.Worlds))
		for j := range w.c.Worlds {
			jobs = append(jobs, job{i, j})
		}
	}
	var next, done atomic.Int64
	var group sync.WaitGroup
	var telling sync.Mutex
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		group.Go(func() {
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(jobs) {
					return
				}
				w, world := ways[jobs[n].way], jobs[n].world
				results[jobs[n].way][world] = sim.Run(w.c.Worlds[world], w.name, w.new(o.Seed+uint64(world)), sim.Options{Samples: o.Samples})
				if finished := int(done.Add(1)); o.Progress != nil {
					telling.Lock()
					o.Progress(finished, len(jobs))
					telling.Unlock()
				}
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]Outcome, len(ways))
	for i, w := range ways {
		merged := sim.Merge(results[i])
		merged.Capacity = results[i][0].Capacity
		out[i] = Outcome{Pool: w.c.Pool, Figures: sim.Evaluate(merged), Result: merged, use: use(results[i])}
		if o.halves {
			first, second := halves(results[i])
			out[i].chosenOn, out[i].judgedOn = sim.Evaluate(first), sim.Evaluate(second)
		}
	}
	return out, nil
}

// halves are the first and the second half of the days of each history. Machines
// and what the policy has learnt stay over the border, as they do in life.
func halves(results []*sim.Result) (first, second *sim.Result) {
	var a, b []*sim.Result
	for _, r := range results {
		x, y := *r, *r
		n := (len(r.Days) + 1) / 2
		x.Days, y.Days = r.Days[:n], r.Days[n:]
		if len(y.Days) == 0 {
			y.Days = r.Days // a single day is all there is
		}
		a, b = append(a, &x), append(b, &y)
	}
	return sim.Merge(a), sim.Merge(b)
}

// use is the share of the spot machines' time that each instance type had.
func use(results []*sim.Result) map[string]float64 {
	out := make(map[string]float64)
	sum := 0.0
	for _, r := range results {
		for i, p := range r.World.Market.Pools {
			out[p.InstanceType] += float64(r.Used[i])
			sum += float64(r.Used[i])
		}
	}
	for t := range out {
		out[t] /= max(sum, 1)
	}
	return out
}

// Together is a strategy's outcome over all pools: money is added, shares of time
// are averaged over the pools.
func Together(outcomes []Outcome, strategy string) sim.Figures {
	var results []*sim.Result
	for _, o := range outcomes {
		if o.Strategy == strategy {
			results = append(results, o.Result)
		}
	}
	return sim.Evaluate(sim.Merge(results))
}
