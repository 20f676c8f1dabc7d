package sim_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// searched are the parameters among which the search chooses: every combination.
func searched() []provision.Parameters {
	var out []provision.Parameters
	for _, headroom := range []provision.Headroom{provision.HeadroomAuto, provision.HeadroomNever, provision.HeadroomAlways} {
		for _, share := range []float64{0.34, 0.5, 1} {
			for _, aversion := range []float64{0.02, 0.05, 0.2} {
				for _, save := range []float64{0.02, 0.05, 0.15} {
					for _, probe := range []provision.Time{30, 120} {
						for _, floor := range []float64{0, 0.25} {
							out = append(out, provision.Parameters{
								Headroom: headroom, MaxShare: share, Aversion: aversion, Save: save, Probe: probe, Floor: floor,
							})
						}
					}
				}
			}
		}
	}
	return out
}

// overlap reports whether two windows have a pool in common: then neither may teach
// what the other is judged on.
func overlap(a, b *trace.Trace) bool {
	return slices.ContainsFunc(a.Pools, func(p trace.Pool) bool {
		return slices.ContainsFunc(b.Pools, func(q trace.Pool) bool { return p.Zone == q.Zone && p.InstanceType == q.InstanceType })
	})
}

// learnt returns the parameters that cost least over the bound, on average over the
// windows that may teach, among those that keep the objective in all of them; if none
// does, those that come nearest to it in the worst window.
func learnt(figures [][]sim.Figures, teaches func(window int) bool) int {
	const objective = 0.9995
	best, bestWorst, bestCost := -1, 0.0, 0.0
	for i := range figures[0] {
		worst, cost := 1.0, 0.0
		for w := range figures {
			if teaches(w) {
				worst = min(worst, figures[w][i].Enough.Value)
				cost += figures[w][i].Bound
			}
		}
		worst = min(worst, objective)
		if best < 0 || worst > bestWorst || worst == bestWorst && cost < bestCost {
			best, bestWorst, bestCost = i, worst, cost
		}
	}
	return best
}

// TestLeaveOneOut judges the policy on histories that its parameters were not chosen
// on: for each published window a search over every combination of parameters on
// the windows that share no pool with it, judged on the window itself. With -v it
// prints the table, also of two harder settings. What is checked is the goal: 1.10 of
// the bound with enough for 99.95 % of the time, where machines are ready before their
// predecessors stop.
func TestLeaveOneOut(t *testing.T) {
	traces := windows(t)
	if testing.Short() {
		t.Skip("some 2,600 runs: left out with -short")
	}
	candidates := searched()
	for _, harder := range []struct {
		name   string
		change func(*provision.Timing)
		goal   bool
	}{
		{"notice 120 s, ready after 60 s", func(*provision.Timing) {}, true},
		{"notice 30 s", func(t *provision.Timing) { t.Notice = 30 }, false},
		{"ready after 180 s", func(t *provision.Timing) { t.Lead = 180 }, false},
	} {
		if !harder.goal && !testing.Verbose() {
			continue // nothing is checked there
		}
		worlds := make([]*sim.World, len(traces))
		figures := make([][]sim.Figures, len(traces))
		for i, tr := range traces {
			s := sim.Settings{Timing: sim.DefaultTiming(), Nodes: 12}
			harder.change(&s.Timing)
			worlds[i], figures[i] = compile(t, tr, s), make([]sim.Figures, len(candidates))
		}
		var next atomic.Int64
		var group sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			group.Go(func() {
				for n := int(next.Add(1)) - 1; n < len(worlds)*len(candidates); n = int(next.Add(1)) - 1 {
					w, c := n/len(candidates), n%len(candidates)
					r := sim.Run(worlds[w], "evenkeel", provision.NewEvenkeel(candidates[c]), sim.Options{})
					total := r.Total()
					figures[w][c].Bound = float64(total.Cost) / float64(total.Full)
					figures[w][c].Enough.Value = float64(total.Enough) / float64(total.Span)
				}
			})
		}
		group.Wait()
		t.Logf("%s: %d combinations of parameters on %d windows", harder.name, len(candidates), len(traces))
		for w, tr := range traces {
			chosen := learnt(figures, func(o int) bool { return !overlap(tr, traces[o]) })
			hindsight := learnt(figures, func(o int) bool { return o == w })
			defaults := sim.Evaluate(sim.Run(worlds[w], "evenkeel", provision.NewEvenkeel(provision.Parameters{}), sim.Options{}))
			teachers := 0
			for _, o := range traces {
				if !overlap(tr, o) {
					teachers++
				}
			}
			f, h := figures[w][chosen], figures[w][hindsight]
			t.Logf("  %-16s learnt from %d: %.3f, %.3f %%; defaults %.3f, %.3f %%; best in hindsight %.3f, %.3f %%; chosen %s",
				tr.Name, teachers, f.Bound, 100*f.Enough.Value, defaults.Bound, 100*defaults.Enough.Value, h.Bound, 100*h.Enough.Value, named(candidates[chosen]))
			if harder.goal && (f.Bound > 1.10 || f.Enough.Value < 0.9995) {
				t.Errorf("%s: %.3f of the bound with enough for %.5f of the time", tr.Name, f.Bound, f.Enough.Value)
			}
		}
	}
}

func named(p provision.Parameters) string {
	return fmt.Sprintf("headroom %d, share %.2f, aversion %.2f, save %.2f, probe %d s, floor %.2f", p.Headroom, p.MaxShare, p.Aversion, p.Save, p.Probe, p.Floor)
}
