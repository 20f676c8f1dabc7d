package plan_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/price"
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

// TestAdviceIsJudgedElsewhere: the figures of an advice are those of days that had no
// part in the choice. Here the second half is bad and the first is not.
func TestAdviceIsJudgedElsewhere(t *testing.T) {
	h := scarce()
	for i := range h.Pools {
		p := &h.Pools[i]
		p.Changes = slices.DeleteFunc(p.Changes, func(c trace.Change) bool { return c.Tick > 0 && c.Tick < p.Ticks/2 })
	}
	o := plan.Options{Traces: []*trace.Trace{h}, Lead: 4 * time.Minute, Objective: 0.9999}
	advice, err := plan.Advise(t.Context(), cases(t, o)[:1], o)
	if err != nil {
		t.Fatal(err)
	}
	a := advice[0]
	if a.Reached || a.Chosen.ChosenOn.Enough.Low < o.Objective || a.Chosen.Enough.Low >= o.Objective {
		t.Errorf("reached %v, enough from %.5f on the days of the choice, from %.5f on the others", a.Reached, a.Chosen.ChosenOn.Enough.Low, a.Chosen.Enough.Low)
	}
}

// TestAllOnDemandIsTheBills: plan and cost agree on what all on demand costs.
func TestAllOnDemandIsTheBills(t *testing.T) {
	b, err := bill.Of(reference(t), price.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	o := plan.Options{Days: 4, Seeds: 1}
	advice, err := plan.Advise(t.Context(), cases(t, o), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range advice {
		i := slices.IndexFunc(b.Pools, func(p bill.Pool) bool { return p.Name == a.Pool })
		if a.AllOnDemand != b.Pools[i].Sum.OnDemand {
			t.Errorf("%s: %s a month, the bill has %s", a.Pool, a.AllOnDemand, b.Pools[i].Sum.OnDemand)
		}
	}
}

// TestTypes: a type that cannot hold a pod, or that costs more on spot than another
// on demand, is rejected with the reason; with Widen, one that is cheaper is added.
func TestTypes(t *testing.T) {
	date := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	table := price.Builtin()
	quote := func(name string, onDemand, spot price.Micros) {
		for _, q := range []struct {
			zone  string
			c     price.Capacity
			price price.Micros
		}{{"", price.OnDemand, onDemand}, {"", price.Spot, spot}, {"us-east-1a", price.Spot, spot}, {"us-east-1b", price.Spot, spot}, {"us-east-1c", price.Spot, spot}} {
			table.Add(name, "us-east-1", q.zone, q.c, price.Quote{PerHour: q.price, Date: date, Source: "test"})
		}
	}
	quote("m5d.large", 200_000, 150_000) // dear
	quote("x9.large", 60_000, 10_000)    // cheap, and as large
	quote("t9.large", 60_000, 5_000)     // cheaper, with a share of a processor
	quote("x9g.large", 60_000, 5_000)    // another architecture
	quote("x9.small", 60_000, 5_000)     // small
	large := price.Allocatable{CPUMilli: 1930, MemoryMiB: 7000, Pods: 29}
	for _, i := range []price.Instance{
		{Type: "x9.large", Arch: "amd64", VCPU: 2, MemoryMiB: 8192, Allocatable: large}, {Type: "t9.large", Arch: "amd64", VCPU: 2, MemoryMiB: 8192, Allocatable: large},
		{Type: "x9g.large", Arch: "arm64", VCPU: 2, MemoryMiB: 8192, Allocatable: large},
		{Type: "x9.small", Arch: "amd64", VCPU: 1, MemoryMiB: 2048, Allocatable: price.Allocatable{CPUMilli: 900, MemoryMiB: 1500, Pods: 11}},
		{Type: "c5.large", Arch: "amd64", VCPU: 2, MemoryMiB: 4096, Allocatable: price.Allocatable{CPUMilli: 1930, MemoryMiB: 100, Pods: 29}},
	} {
		table.AddInstance(i)
	}
	o := plan.Options{Days: 4, Seeds: 1, Prices: table, Widen: true}
	advice, err := plan.Advise(t.Context(), cases(t, o)[:1], o)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range advice[0].Types {
		switch {
		case a.Why != "" && a.Named:
			got = append(got, "without "+a.Type+": "+a.Why)
		case a.Why == "" && !a.Named:
			got = append(got, "new "+a.Type)
		}
	}
	want := []string{
		"new x9.large",
		"without m5d.large: costs 0.1500 an hour on spot; c5a.large costs 0.0770 on demand",
		"without c5.large: gives pods 1930 m CPU and 100 MiB; go-gateway asks for up to 250 m and 256 MiB",
	}
	if !slices.Equal(got, want) {
		t.Errorf("types: %q\nwant   %q", got, want)
	}
}
