//go:build unix

package sim

import (
	"fmt"
	"syscall"
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

// processorTime is what this process has used: unlike the time on the wall, it
// says something on a machine that others use, too.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFleet plays policies at that size, one run after another on one core.
// All but ns/op is processor time: cpu-ms/op of the mean run, least-cpu-ms of the
// quickest. events/s counts what happens to pools and groups of machines: a price, a
// notice, capacity gone and back, a group ready, a refusal. machine-events/s adds
// to prices each machine's launch, reclaim and move instead. x-replay is how many
// times as long an event of the first kind takes as going through the list does.
func BenchmarkFleet(b *testing.B) {
	for _, kind := range []struct {
		name   string
		hazard float64
	}{{"cpu", price.Over20.Hazard()}, {"gpu", trace.GPUHazard}} {
		w := fleet(b, kind.hazard)
		prices := 0
		for i := range w.events {
			if w.events[i].kind == priced {
				prices++
			}
		}
		started, rounds := processorTime(), 0
		for ; processorTime()-started < 100*time.Millisecond; rounds++ {
			replay(w)
		}
		raw := float64(processorTime()-started) / float64(rounds) / float64(len(w.events))
		for _, name := range []string{"evenkeel", "round-robin", "on-demand"} {
			s, _ := provision.ByName(name)
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				var events, machines int64
				least, first := time.Hour, processorTime()
				for b.Loop() {
					started := processorTime()
					r := Run(w, name, s.New(1), Options{})
					least = min(least, processorTime()-started)
					events, machines = r.Events, int64(prices)+r.Launched+r.Reclaimed+r.Moved
				}
				each := float64(processorTime()-first) / float64(b.N)
				b.ReportMetric(each/1e6, "cpu-ms/op")
				b.ReportMetric(float64(least)/1e6, "least-cpu-ms")
				b.ReportMetric(float64(events), "events")
				b.ReportMetric(float64(events)/each*1e9, "events/s")
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
