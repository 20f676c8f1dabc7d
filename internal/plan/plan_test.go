package plan_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

func reference(t testing.TB) *spec.Platform {
	t.Helper()
	data, err := os.ReadFile("../../examples/market-intel-brain/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p, err := spec.Parse(bytes.NewReader(data), "platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func cases(t testing.TB, o plan.Options) []plan.Case {
	t.Helper()
	c, _, err := plan.Cases(reference(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestSimulateIsReproducible: whatever the goroutines do, the figures are the same.
func TestSimulateIsReproducible(t *testing.T) {
	o := plan.Options{Days: 10, Seeds: 2}
	var told int
	o.Progress = func(done, total int) { told = done*1000 + total }
	run := func() []plan.Outcome {
		out, err := plan.Simulate(t.Context(), cases(t, o), provision.Strategies, o)
		if err != nil {
			t.Fatal(err)
		}
		for i := range out {
			out[i].Result = nil
		}
		return out
	}
	a := run()
	if want := len(a)*o.Seeds*1000 + len(a)*o.Seeds; told < o.Seeds*len(a) || told > want {
		t.Errorf("progress ended with %d of %d", told/1000, told%1000)
	}
	if b := run(); !reflect.DeepEqual(a, b) {
		t.Error("the same simulation came to something else")
	}
}

func TestSimulateStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := plan.Options{Days: 5, Seeds: 1, Progress: func(int, int) { cancel() }}
	if _, err := plan.Simulate(ctx, cases(t, o), provision.Strategies, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want %v", err, context.Canceled)
	}
}

// scarce is a history in which pools are lost every few hours, at different times.
func scarce() *trace.Trace {
	t := &trace.Trace{Name: "scarce"}
	for i, zone := range []string{"za", "zb", "zc"} {
		p := trace.Pool{
			Region: "z", Zone: zone, InstanceType: "big", OnDemandPerHour: 1, SpotPerHour: 0.3,
			Tick: 10 * time.Minute, Ticks: 6 * 24 * 10, Changes: []trace.Change{{Available: true}},
		}
		for at := 12 + 7*i; at+3 < p.Ticks; at += 23 + 5*i {
			p.Changes = append(p.Changes, trace.Change{Tick: at}, trace.Change{Tick: at + 2, Available: true})
		}
		t.Pools = append(t.Pools, p)
	}
	return t
}

// TestAdviseSparesWhatMustBeSpared: when machines take longer to be ready than
// the notice, spare machines are advised; otherwise they are not.
func TestAdviseSparesWhatMustBeSpared(t *testing.T) {
	for _, tt := range []struct {
		lead  time.Duration
		spare bool
	}{{30 * time.Second, false}, {4 * time.Minute, true}} {
		o := plan.Options{Traces: []*trace.Trace{scarce()}, Lead: tt.lead, Objective: 0.999}
		advice, err := plan.Advise(t.Context(), cases(t, o), o)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range advice {
			t.Logf("%v: %s: %s, %d of %d to spare, enough %.5f from %.5f", tt.lead, a.Pool, a.Chosen.Text, a.Headroom, a.Nodes, a.Chosen.Enough.Value, a.Chosen.Enough.Low)
			if !a.Reached {
				t.Errorf("lead %v: %s: the objective is not reached", tt.lead, a.Pool)
			}
			if spare := a.Headroom > 0 || a.Floor > 0; spare != tt.spare {
				t.Errorf("lead %v: %s: %d to spare and %d on demand, want some: %v", tt.lead, a.Pool, a.Headroom, a.Floor, tt.spare)
			}
			for i, c := range a.Candidates {
				if (c.Rejected == "") != (i == 0) {
					t.Errorf("%s: candidate %d is rejected because %q", a.Pool, i, c.Rejected)
				}
			}
		}
	}
}
