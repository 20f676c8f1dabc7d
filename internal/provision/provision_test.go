package provision_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// ordered is what a policy ordered at a moment.
type ordered struct {
	at     provision.Time
	orders []provision.Order
}

// logged writes down what a policy orders.
type logged struct {
	provision.Policy
	log []ordered
}

func (l *logged) Decide(v *provision.View, orders []provision.Order) ([]provision.Order, provision.Time) {
	before := len(orders)
	orders, wake := l.Policy.Decide(v, orders)
	if len(orders) > before {
		l.log = append(l.log, ordered{v.Now, slices.Clone(orders[before:])})
	}
	return orders, wake
}

// TestEvenkeelIsThePlainPolicy: keeping an order of pools up to date, and not waking
// for nothing, changes no order in any second of any history.
func TestEvenkeelIsThePlainPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := trace.MarketConfig{Seed: rapid.Uint64().Draw(t, "market seed"), Span: time.Duration(rapid.IntRange(6, 60).Draw(t, "hours")) * time.Hour}
		// Pools on both sides of where all of them are looked at each time.
		regions, zones, types := rapid.IntRange(1, 4).Draw(t, "regions"), rapid.IntRange(1, 4).Draw(t, "zones"), rapid.IntRange(1, 12).Draw(t, "types")
		apart := rapid.SampledFrom([]int{0, 100, 3000}).Draw(t, "prices apart")
		depth := rapid.SampledFrom([]int{0, 3, 40}).Draw(t, "depth")
		for r := range regions {
			for z := range zones {
				for typ := range types {
					c.Pools = append(c.Pools, trace.PoolConfig{
						Region: fmt.Sprintf("r%d", r), Zone: fmt.Sprintf("r%d%c", r, 'a'+z), InstanceType: fmt.Sprintf("t%02d", typ),
						OnDemand: 96_000, Spot: price.Micros(30_000 + apart*typ), Hazard: rapid.SampledFrom([]float64{0.01, 3, 12}).Draw(t, "hazard"), Depth: depth,
					})
				}
			}
		}
		m, err := trace.GenerateMarket(c)
		if err != nil {
			t.Fatal(err)
		}
		w, err := sim.Compile(m, sim.Settings{
			Timing: provision.Timing{
				Notice: sim.Time(rapid.SampledFrom([]int{0, 30, 120, 120, 600}).Draw(t, "notice")), Lead: sim.Time(rapid.IntRange(1, 300).Draw(t, "lead")),
				Grace: sim.Time(rapid.IntRange(0, 60).Draw(t, "grace")), Margin: 2, Answer: sim.Time(rapid.IntRange(1, 10).Draw(t, "answer")),
			},
			Nodes:    rapid.SampledFrom([]int{1, 5, 12, 100, 1000}).Draw(t, "nodes"),
			StockOut: rapid.SampledFrom([]float64{0, 0, 0.2}).Draw(t, "stock-out"),
		})
		if err != nil {
			t.Fatal(err)
		}
		p := provision.Parameters{
			Aversion: rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "aversion"), MaxShare: rapid.SampledFrom([]float64{0, 0.05, 1}).Draw(t, "share"),
			Floor: rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "floor"), Headroom: provision.Headroom(rapid.IntRange(0, 2).Draw(t, "headroom")),
			Save: rapid.SampledFrom([]float64{0, 0.001}).Draw(t, "save"),
		}
		ours, plain := &logged{Policy: provision.NewEvenkeel(p)}, &logged{Policy: provision.NewPlain(p)}
		a, b := sim.Run(w, "", ours, sim.Options{}), sim.Run(w, "", plain, sim.Options{})
		for i := range min(len(ours.log), len(plain.log)) {
			if !reflect.DeepEqual(ours.log[i], plain.log[i]) {
				t.Fatalf("order %d: %+v, plainly %+v", i, ours.log[i], plain.log[i])
			}
		}
		if len(ours.log) != len(plain.log) || !reflect.DeepEqual(a, b) {
			t.Fatalf("%d orders, plainly %d", len(ours.log), len(plain.log))
		}
	})
}
