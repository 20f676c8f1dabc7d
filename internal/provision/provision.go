// Package provision decides how many machines a platform runs, and where: in
// which spot pools, how many on demand, and how many to spare.
//
// A Policy is told what it may know, a View, and answers with Orders. It is told
// what a user of the cloud is told and nothing else: what was granted and what was
// refused, which machines are ready, and which were given notice. That capacity
// has come back it learns only by asking for some.
//
// The package starts nothing and reads no clock. The simulator and the
// controller's advice drive the same code.
package provision

import "cmp"

// Time is a moment or a span in seconds, on the axis of the history.
type Time int32

// Price is in micro-dollars an hour. Money is counted in whole numbers, so that
// sums do not depend on their order.
type Price int32

// OnDemand stands in an Order for the place where a pool's index would stand.
const OnDemand = -1

// Never is later than every moment.
const Never = Time(1<<31 - 1)

// Market is what a policy knows before it starts.
type Market struct {
	Pools []Pool
	// OnDemand is the price of a machine on demand.
	OnDemand Price
	Timing   Timing
	// Objective is the share of time for which enough machines should be ready.
	Objective float64
}

// Pool is one instance type in one zone.
type Pool struct {
	Name, Region, Zone, InstanceType string
	Price                            Price // when the policy starts
	// Hazard is how often a day the pool is expected to be reclaimed, from an
	// earlier history or the cloud's advisor. If zero, nothing is known.
	Hazard float64
}

// Timing says how long things take.
type Timing struct {
	// Notice is how long before it goes a machine is told so.
	Notice Time
	// Lead is how long a machine takes from the request until its pods are ready:
	// launch, join and pod start.
	Lead Time
	// Grace is how long a pod takes to stop, and Margin what is kept free between
	// its end and the machine's.
	Grace, Margin Time
	// Answer is how long a refusal for want of capacity takes.
	Answer Time
}

// Slack is how long the pods of a machine go on serving after its notice: until
// their latest start. As in package drain, a pod that is replaced gets up to half of
// a short notice for that, at the cost of its grace.
func (t Timing) Slack() Time {
	return max(0, t.Notice-t.Grace-t.Margin, min(handoffTime, (t.Notice-t.Margin)/2))
}

// handoffTime is drain's default for the most that a replacement is waited for at
// the cost of grace.
const handoffTime = Time(15)

// Gap is how long capacity is missing after a reclaim for which nothing was kept
// ready.
func (t Timing) Gap() Time { return max(0, t.Lead-t.Slack()) }

// PoolState is what is seen of one pool, or of the machines on demand.
type PoolState struct {
	Ready    int32 // serving, and not given notice
	Starting int32 // asked for, and neither ready nor refused yet
	Leaving  int32 // given notice, and still serving
	Price    Price
	// Reclaims is how often the pool was taken from us. Exposed is for how long
	// something of ours was there, up to Since; from Since on something has been
	// there again, unless it is Never.
	Reclaims int32
	Exposed  Time
	Since    Time
}

// What a pool is credited with before anything has run in it.
const (
	priorDays   = 1.0
	priorHazard = 2.0 // reclaims a day: scarce pools show 3 to 8, deep ones 0.01
)

// hazard is how often a day a pool is expected to be reclaimed.
func hazard(p *Pool, s *PoolState, now Time) float64 {
	exposed := float64(s.Exposed)
	if s.Since != Never {
		exposed += float64(now - s.Since)
	}
	return (float64(s.Reclaims) + cmp.Or(p.Hazard, priorHazard)*priorDays) / (exposed/86400 + priorDays)
}

// View is what a policy sees when it is asked.
type View struct {
	Now   Time
	Want  int32 // machines that must be ready
	Pools []PoolState
	// OnDemand are the machines on demand; none of them ever leaves unasked.
	OnDemand PoolState
	// Totals over all pools and the machines on demand.
	Ready, Starting, Leaving int32
	// Noticed and Refused are the pools that were given notice, and the places
	// (OnDemand among them) that refused, since the policy was last asked.
	Noticed, Refused []int32
	// Unserved is for how long, up to now, fewer than Want were ready.
	Unserved Time
}

// Order asks for machines in a pool, or lets some go if Nodes is negative: first
// the ones that are starting. Pods are moved off before a machine goes, so a policy
// that lets go of what it needs has itself to blame.
type Order struct {
	Pool  int32 // index into View.Pools, or OnDemand
	Nodes int32
}

// Policy decides. It is used by one run, from one goroutine.
type Policy interface {
	// Start is called once, before anything else.
	Start(m *Market)
	// Decide appends what it orders, and says when to be asked again at the latest.
	// It is asked whenever something that it can see has changed.
	Decide(v *View, orders []Order) ([]Order, Time)
}

// Strategy is a policy by name.
type Strategy struct {
	Name  string // as in --strategies
	Title string // one line
	New   func(seed uint64) Policy
}

// Strategies lists every policy, the ones to beat first.
var Strategies = []Strategy{
	{"on-demand", "every machine on demand", func(uint64) Policy { return &onDemandOnly{} }},
	{"single-pool", "all in one pool: the cheapest at the start", func(uint64) Policy { return &spotOnly{choose: chooseSingle} }},
	{"even-spread", "the same number in every pool, each kept to its pool", func(uint64) Policy { return &spotOnly{choose: chooseEven} }},
	{"round-robin", "each new machine in the next pool", func(uint64) Policy { return &spotOnly{choose: chooseNext} }},
	{"lowest-price", "where it is cheapest now", func(uint64) Policy { return &spotOnly{choose: chooseCheapest} }},
	{"capacity-optimized", "where reclaims have been rarest", func(uint64) Policy { return &spotOnly{choose: chooseDeepest} }},
	{"price-capacity-optimized", "cheap among the pools in which reclaims have been rare", func(uint64) Policy { return &spotOnly{choose: choosePriceDepth} }},
	{"portfolio", "weights that make the variance of lost capacity small", func(uint64) Policy { return &spotOnly{choose: choosePortfolio} }},
	{"spothedge", "SkyServe's: zones in two lists, one machine to spare, on demand while spot is missing", func(seed uint64) Policy { return &spotHedge{seed: seed} }},
	{"primal-dual", "as Snape: a price on missing capacity moves the share on demand", func(uint64) Policy { return &primalDual{} }},
	{"uniform-progress", "as Uniform Progress: on demand while behind on the error budget", func(uint64) Policy { return &uniformProgress{} }},
	{"evenkeel", "this project's", func(uint64) Policy { return NewEvenkeel(Parameters{}) }},
}

// ByName returns the strategy of that name.
func ByName(name string) (Strategy, bool) {
	for _, s := range Strategies {
		if s.Name == name {
			return s, true
		}
	}
	return Strategy{}, false
}

// wantOnDemand orders on-demand machines until n of them are there or on their way.
func wantOnDemand(v *View, n int32, orders []Order) []Order {
	if d := n - v.OnDemand.Ready - v.OnDemand.Starting; d != 0 {
		orders = append(orders, Order{OnDemand, d})
	}
	return orders
}
