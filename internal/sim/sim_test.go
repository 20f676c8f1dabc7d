package sim_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// anyMarket draws a small market: a few pools that come, go and shrink, and whose
// prices change.
func anyMarket() *rapid.Generator[*trace.Market] {
	return rapid.Custom(func(t *rapid.T) *trace.Market {
		hours := rapid.IntRange(2, 60).Draw(t, "hours")
		m := &trace.Market{Name: "drawn", Span: time.Duration(hours) * time.Hour}
		for i := range rapid.IntRange(1, 5).Draw(t, "pools") {
			o := trace.Offer{
				Region: fmt.Sprintf("r%d", i/3+1), Zone: fmt.Sprintf("r%d%c", i/3+1, 'a'+i), InstanceType: "m5.large",
				OnDemand: price.Micros(rapid.IntRange(90_000, 110_000).Draw(t, "on demand")),
			}
			series := func(what string, value *rapid.Generator[int64]) trace.Series {
				s := trace.Series{{Value: value.Draw(t, what)}}
				for range rapid.IntRange(0, 12).Draw(t, what+" steps") {
					last := s[len(s)-1]
					at := last.At + time.Duration(rapid.IntRange(1, 20_000).Draw(t, "later"))*time.Second
					if v := value.Draw(t, what); v != last.Value && at < m.Span {
						s = append(s, trace.Step{At: at, Value: v})
					}
				}
				return s
			}
			o.Capacity = series("capacity", rapid.SampledFrom([]int64{0, 0, 3, 8, trace.Unlimited}))
			o.Spot = series("spot", rapid.Int64Range(20_000, 120_000))
			m.Pools = append(m.Pools, o)
		}
		return m
	})
}

func anySettings() *rapid.Generator[sim.Settings] {
	return rapid.Custom(func(t *rapid.T) sim.Settings {
		return sim.Settings{
			Timing: provision.Timing{
				Notice: sim.Time(rapid.SampledFrom([]int{0, 30, 120, 600}).Draw(t, "notice")),
				Lead:   sim.Time(rapid.IntRange(1, 400).Draw(t, "lead")),
				Grace:  sim.Time(rapid.IntRange(0, 60).Draw(t, "grace")),
				Margin: 2, Answer: sim.Time(rapid.IntRange(1, 10).Draw(t, "answer")),
			},
			Nodes:    rapid.IntRange(1, 20).Draw(t, "nodes"),
			StockOut: rapid.SampledFrom([]float64{0, 0, 0.2}).Draw(t, "stock-out"),
			Seed:     rapid.Uint64().Draw(t, "seed"),
		}
	})
}

func anyStrategy() *rapid.Generator[provision.Strategy] {
	return rapid.Custom(func(t *rapid.T) provision.Strategy {
		return provision.Strategies[rapid.IntRange(0, len(provision.Strategies)-1).Draw(t, "strategy")]
	})
}

// TestRunHolds plays every strategy in worlds that were drawn. Run itself panics if
// the books do not balance, or if a run cost less than its bound.
func TestRunHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := sim.Compile(anyMarket().Draw(t, "market"), anySettings().Draw(t, "settings"))
		if err != nil {
			t.Fatal(err)
		}
		s := anyStrategy().Draw(t, "strategy")
		a := sim.Run(w, s.Name, s.New(7), sim.Options{Samples: 10})
		if b := sim.Run(w, s.Name, s.New(7), sim.Options{Samples: 10}); !reflect.DeepEqual(a, b) {
			t.Fatalf("%s: the same run went differently", s.Name)
		}
		total := a.Total()
		switch {
		case total.Served > total.Need || total.Enough > total.Span:
			t.Fatalf("%s: served %d of %d, enough for %d of %d s", s.Name, total.Served, total.Need, total.Enough, total.Span)
		case total.Nodes != a.Billed:
			t.Fatalf("%s: the days have %d machine-seconds, the run %d", s.Name, total.Nodes, a.Billed)
		case s.Name == "on-demand" && w.Settings.StockOut == 0 && total.Enough != total.Span:
			t.Fatalf("on demand was short for %d s", total.Span-total.Enough)
		}
		b := w.Bounds()
		if b.Instant != total.Full {
			t.Fatalf("the instant bound is %v, the run's own count of it %v", b.Instant, total.Full)
		}
		if b.Instant > b.Startup {
			t.Fatalf("the bound without start-up %v is above the one with it %v", b.Instant, b.Startup)
		}
		if total.Served == total.Need && (total.Cost < b.Startup || total.Cost < b.Dual) {
			t.Fatalf("%s served everything for %v, below the bounds %+v", s.Name, total.Cost, b)
		}
	})
}

// TestBoundsAgree holds the bounds against each other where what they know is
// the same: pools with room for everything, at constant prices.
func TestBoundsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMarket().Draw(t, "market")
		for i := range m.Pools {
			m.Pools[i].Spot = m.Pools[i].Spot[:1]
			var all trace.Series
			for _, step := range m.Pools[i].Capacity {
				if step.Value > 0 {
					step.Value = trace.Unlimited
				}
				if len(all) == 0 || all[len(all)-1].Value != step.Value {
					all = append(all, step)
				}
			}
			m.Pools[i].Capacity = all
		}
		w, err := sim.Compile(m, anySettings().Draw(t, "settings"))
		if err != nil {
			t.Fatal(err)
		}
		b := w.Bounds()
		if b.Dual > b.Startup || b.Dual < b.Startup*9/10 {
			t.Fatalf("dual %.4f, exact %.4f", b.Dual.Dollars(), b.Startup.Dollars())
		}
	})
}

// TestHandWritten checks a run whose figures can be counted by hand: one pool
// that is lost after an hour of two, and one machine.
func TestHandWritten(t *testing.T) {
	m := &trace.Market{Name: "by hand", Span: 2 * time.Hour, Pools: []trace.Offer{{
		Region: "r", Zone: "ra", InstanceType: "t", OnDemand: 100,
		Spot:     trace.Series{{Value: 10}},
		Capacity: trace.Series{{Value: trace.Unlimited}, {At: time.Hour}},
	}}}
	w, err := sim.Compile(m, sim.Settings{Nodes: 1, Timing: provision.Timing{Notice: 120, Lead: 60, Grace: 15, Margin: 2, Answer: 2}})
	if err != nil {
		t.Fatal(err)
	}
	r := sim.Run(w, "evenkeel", provision.NewEvenkeel(provision.Parameters{}), sim.Options{})
	total := r.Total()
	// The notice comes at 3480. Its pods serve until 3583, so a machine on demand must
	// be asked for at 3523; spot is asked for from 3493 on and refused. On demand is
	// ordered when no other answer is possible, 2 s before the last moment: 3521. It is
	// ready at 3581; the pods move, the old machine is paid for 15 s more.
	if want := sim.Money(10*3596 + 100*(7200-3521)); total.Cost != want {
		t.Errorf("cost %d, want %d", total.Cost, want)
	}
	if total.Enough != total.Span || total.Span != 7200-62 || r.Longest != 0 {
		t.Errorf("enough for %d of %d s, longest outage %d s", total.Enough, total.Span, r.Longest)
	}
	if r.Reclaimed != 1 || r.Launched != 2 || r.Moved != 1 {
		t.Errorf("reclaimed %d, launched %d, moved %d; want 1, 2, 1", r.Reclaimed, r.Launched, r.Moved)
	}
	// Spot until 3600, on demand from then on; the machine that replaces it starts 60 s
	// earlier.
	b := w.Bounds()
	if want := sim.Money(10*(3600-62) + 100*3600); b.Instant != want {
		t.Errorf("instant bound %d, want %d", b.Instant, want)
	}
	if want := sim.Money(10*(3600-62) + 100*3600 + 100*60); b.Startup != want {
		t.Errorf("bound with start-up %d, want %d", b.Startup, want)
	}
}

func TestCompileErrors(t *testing.T) {
	good := func() *trace.Market {
		return &trace.Market{Name: "m", Span: 2 * time.Hour, Pools: []trace.Offer{{
			Zone: "za", InstanceType: "t", OnDemand: 100, Spot: trace.Series{{Value: 10}}, Capacity: trace.Series{{Value: 1}},
		}}}
	}
	settings := sim.Settings{Nodes: 1, Timing: sim.DefaultTiming()}
	tests := []struct {
		name   string
		change func(*trace.Market, *sim.Settings)
		want   string
	}{
		{"no pools", func(m *trace.Market, _ *sim.Settings) { m.Pools = nil }, "no pools"},
		{"short", func(m *trace.Market, _ *sim.Settings) { m.Span = time.Minute }, "want an hour to 60 years"},
		{"price", func(m *trace.Market, _ *sim.Settings) { m.Pools[0].Spot[0].Value = 1 << 40 }, "micro-dollars an hour is not between"},
		{"negative price", func(m *trace.Market, _ *sim.Settings) { m.Pools[0].Spot[0].Value = -1 }, "spot price: -1 at 0s"},
		{"nodes", func(_ *trace.Market, s *sim.Settings) { s.Nodes = 0 }, "0 machines: want 1 to 1,000,000"},
		{"notice", func(_ *trace.Market, s *sim.Settings) { s.Timing.Notice = -1 }, "must not be negative"},
		{"stock-out", func(_ *trace.Market, s *sim.Settings) { s.StockOut = 1 }, "stock-out share 1"},
		{"objective", func(_ *trace.Market, s *sim.Settings) { s.Objective = 99.95 }, "objective 99.95 is not between 0 and 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, s := good(), settings
			tt.change(m, &s)
			_, err := sim.Compile(m, s)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want %q in it", err, tt.want)
			}
		})
	}
	if _, err := sim.Compile(good(), settings); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// generated is a market with CPU pools as the advisor knows them, and one with
// scarce pools, for tests that run without the published histories.
func generated(t testing.TB, hazard float64, days int) *trace.Market {
	t.Helper()
	c := trace.MarketConfig{Seed: 3, Span: time.Duration(days) * 24 * time.Hour}
	for _, zone := range []string{"us-east-1a", "us-east-1b", "us-east-1c"} {
		for _, typ := range []string{"m5.large", "m5a.large"} {
			c.Pools = append(c.Pools, trace.PoolConfig{Region: "us-east-1", Zone: zone, InstanceType: typ, OnDemand: 96_000, Spot: 35_000, Hazard: hazard})
		}
	}
	m, err := trace.GenerateMarket(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestOursIsGood holds this project's policy to its quality: a change that makes
// it worse fails.
func TestOursIsGood(t *testing.T) {
	for _, hazard := range []float64{0.01, 3} {
		w, err := sim.Compile(generated(t, hazard, 30), sim.Settings{Timing: sim.DefaultTiming(), Nodes: 30})
		if err != nil {
			t.Fatal(err)
		}
		f := sim.Evaluate(sim.Run(w, "evenkeel", provision.NewEvenkeel(provision.Parameters{}), sim.Options{}))
		t.Logf("hazard %v: %.4f of the bound, %.5f of the time enough", hazard, f.Bound, f.Enough.Value)
		if f.Bound > 1.05 || f.Enough.Value < 0.9995 {
			t.Errorf("hazard %v: cost %.4f of the bound with enough for %.5f of the time; want at most 1.05 and at least 0.9995", hazard, f.Bound, f.Enough.Value)
		}
	}
}

// TestMoreNoticeNeverCostsMore: somebody who knows the future has no use for a
// notice, so the bounds do not depend on it, exactly. This project's policy holds
// its objective at every notice; what it pays for that falls as the notice grows,
// up to the small chances of what is asked for when.
func TestMoreNoticeNeverCostsMore(t *testing.T) {
	m := generated(t, 3, 30)
	var cost []float64
	var bounds []sim.Bounds
	notices := []sim.Time{0, 30, 60, 90, 120, 300}
	for _, notice := range notices {
		timing := sim.DefaultTiming()
		timing.Notice = notice
		w, err := sim.Compile(m, sim.Settings{Timing: timing, Nodes: 12})
		if err != nil {
			t.Fatal(err)
		}
		cost = append(cost, sim.Run(w, "evenkeel", provision.NewEvenkeel(provision.Parameters{}), sim.Options{}).Total().Cost.Dollars())
		bounds = append(bounds, w.Bounds())
	}
	for i := range notices {
		t.Logf("notice %d s: %.2f USD", notices[i], cost[i])
		if bounds[i] != bounds[0] {
			t.Errorf("notice %d s: bounds %+v, without one %+v", notices[i], bounds[i], bounds[0])
		}
		if least := slices.Min(cost[:i+1]); cost[i] > 1.03*least {
			t.Errorf("notice %d s costs %.2f USD, a shorter one %.2f", notices[i], cost[i], least)
		}
	}
}

// TestStrategiesAreNamed: the names are what a user types.
func TestStrategiesAreNamed(t *testing.T) {
	for i, s := range provision.Strategies {
		if got, ok := provision.ByName(s.Name); !ok || got.Title != s.Title {
			t.Errorf("strategy %d, %q, is not found by its name", i, s.Name)
		}
	}
}

// TestGroupsAndPodsAgree plays every strategy twice at once: in groups, and with
// every pod, moved by drain.Step. What was served, for how long there was enough, and
// what was paid for must be the same, to the second.
func TestGroupsAndPodsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &trace.Market{Name: "drawn", Span: 5 * time.Hour}
		for i := range rapid.IntRange(1, 3).Draw(t, "pools") {
			o := trace.Offer{
				Region: "r", Zone: fmt.Sprintf("r%c", 'a'+i), InstanceType: "m5.large", OnDemand: 100_000,
				Spot: trace.Series{{Value: int64(30_000 + i)}}, Capacity: trace.Series{{Value: trace.Unlimited}},
			}
			// Stretches are longer than the notice: a shorter notice than a drain was told
			// of is another story.
			for at := time.Duration(0); ; {
				at += time.Duration(rapid.IntRange(700, 4000).Draw(t, "up")) * time.Second
				back := at + time.Duration(rapid.IntRange(1, 3000).Draw(t, "down"))*time.Second
				if back >= m.Span {
					break
				}
				o.Capacity = append(o.Capacity, trace.Step{At: at}, trace.Step{At: back, Value: trace.Unlimited})
				at = back
			}
			m.Pools = append(m.Pools, o)
		}
		w, err := sim.Compile(m, sim.Settings{
			Nodes: rapid.IntRange(1, 5).Draw(t, "nodes"),
			Timing: provision.Timing{
				Notice: sim.Time(rapid.SampledFrom([]int{30, 120, 300}).Draw(t, "notice")), Lead: sim.Time(rapid.IntRange(5, 300).Draw(t, "lead")),
				Grace: sim.Time(rapid.IntRange(1, 25).Draw(t, "grace")), Margin: 2, Answer: 2,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := anyStrategy().Draw(t, "strategy")
		d := sim.RunDetailed(w, s.Name, s.New(1))
		if err := d.Agree(); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		if d.Late > 0 {
			t.Fatalf("%s: %d pods died with their machines", s.Name, d.Late)
		}
	})
}
