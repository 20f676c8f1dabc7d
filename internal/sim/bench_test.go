package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// fleet is the size that the simulator is held to: 90 days of 10,000 machines in
// 500 pools, where pools are reclaimed as CPU pools are or as scarce ones.
func fleet(b *testing.B, hazard float64) *World {
	b.Helper()
	c := trace.MarketConfig{Seed: 1}
	for region := range 5 {
		for zone := range 4 {
			for typ := range 25 {
				name := fmt.Sprintf("r%d", region)
				c.Pools = append(c.Pools, trace.PoolConfig{
					Region: name, Zone: fmt.Sprintf("%s%c", name, 'a'+zone), InstanceType: fmt.Sprintf("t%02d", typ),
					OnDemand: 96_000, Spot: price.Micros(34_000 + 100*typ), Hazard: hazard, Depth: 40,
				})
			}
		}
	}
	m, err := trace.GenerateMarket(c)
	if err != nil {
		b.Fatal(err)
	}
	w, err := Compile(m, Settings{Timing: DefaultTiming(), Nodes: 10_000})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// replay goes through a World's list and does nothing but count what holds
// between events: the least that any simulation of it could do.
func replay(w *World) Money {
	var sum Money
	at, cheapest := Time(0), w.first
	up := make([]int32, len(w.room))
	for i := range w.events {
		e := &w.events[i]
		sum += Money(cheapest) * Money(e.at-at)
		at, cheapest = e.at, e.cheapest
		up[e.pool] = e.room
	}
	return sum
}

// BenchmarkFleet plays policies at that size. ns/op is one run on one core;
// events/s counts what happens to groups of machines, machine-events/s the
// launches, reclaims and moves of machines; x-replay is how many times as long it
// takes, for each event, as going through the list does.
func BenchmarkFleet(b *testing.B) {
	for _, kind := range []struct {
		name   string
		hazard float64
	}{{"cpu", price.Over20.Hazard()}, {"gpu", trace.GPUHazard}} {
		w := fleet(b, kind.hazard)
		started, rounds := time.Now(), 0
		for ; time.Since(started) < 50*time.Millisecond; rounds++ {
			replay(w)
		}
		raw := float64(time.Since(started)) / float64(rounds) / float64(len(w.events))
		for _, name := range []string{"evenkeel", "round-robin", "on-demand"} {
			s, _ := provision.ByName(name)
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				var events, machines int64
				for b.Loop() {
					r := Run(w, name, s.New(1), Options{})
					events, machines = r.Events, r.Launched+r.Reclaimed+r.Moved
				}
				each := float64(b.Elapsed()) / float64(b.N)
				b.ReportMetric(float64(events)/each*1e9, "events/s")
				b.ReportMetric(float64(events), "events")
				b.ReportMetric(float64(machines)/each*1e9, "machine-events/s")
				b.ReportMetric(each/float64(events)/raw, "x-replay")
			})
		}
	}
}

// BenchmarkCandidates plays one of the 1,000 ways to run a pool that a plan may try,
// over 90 days: 12 machines in the 15 pools of five types in three zones. A thousand
// of them take a thousand times ns/op, over the cores.
func BenchmarkCandidates(b *testing.B) {
	c := trace.MarketConfig{Seed: 1}
	for zone := range 3 {
		for typ := range 5 {
			c.Pools = append(c.Pools, trace.PoolConfig{
				Region: "r", Zone: fmt.Sprintf("r%c", 'a'+zone), InstanceType: fmt.Sprintf("t%d", typ), OnDemand: 96_000, Spot: 35_000, Hazard: trace.GPUHazard,
			})
		}
	}
	m, err := trace.GenerateMarket(c)
	if err != nil {
		b.Fatal(err)
	}
	w, err := Compile(m, Settings{Timing: DefaultTiming(), Nodes: 12})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Evaluate(Run(w, "evenkeel", provision.NewEvenkeel(provision.Parameters{}), Options{}))
	}
}
