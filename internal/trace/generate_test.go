package trace_test

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

// TestGenerateStatistics checks the generator against the numbers that its
// documentation states, over a history long enough for them to show.
func TestGenerateStatistics(t *testing.T) {
	tr, err := trace.Generate(trace.GeneratorConfig{
		Seed:  1,
		Zones: []string{"us-east-1a", "us-east-1b", "us-west-2a"},
		Span:  3000 * 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range tr.Pools {
		p := &tr.Pools[i]
		near(t, p.Zone+": availability", p.Availability(), trace.DefaultAvailability, 0.01)
		near(t, p.Zone+": mean up hours", p.MeanUp().Hours(), trace.DefaultMeanUp.Hours(), 0.25)
	}
	a, b, west := &tr.Pools[0], &tr.Pools[1], &tr.Pools[2]
	near(t, "correlation within a region", trace.Correlation(a, b), trace.DefaultCorrelation, 0.02)
	near(t, "correlation across regions", trace.Correlation(a, west), 0, 0.03)
	// Three minutes is less than a tick: together means in the same one.
	near(t, "co-interruption within a region", trace.CoInterruption(a, b, 3*time.Minute), trace.DefaultCoInterruption, 0.02)
	near(t, "co-interruption across regions", trace.CoInterruption(a, west, 3*time.Minute), 0, 0.02)
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s = %.4f, want %.4f within %v", what, got, want, tolerance)
	}
}

func TestGenerateIsDeterministic(t *testing.T) {
	generate := func(seed uint64, zones ...string) *trace.Trace {
		tr, err := trace.Generate(trace.GeneratorConfig{Seed: seed, Zones: zones})
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	one := generate(7, "us-east-1a", "us-east-1b")
	if !reflect.DeepEqual(one, generate(7, "us-east-1a", "us-east-1b")) {
		t.Error("the same seed gave another trace")
	}
	if reflect.DeepEqual(one, generate(8, "us-east-1a", "us-east-1b")) {
		t.Error("another seed gave the same trace")
	}
	if more := generate(7, "us-east-1c", "us-east-1b", "us-east-1a"); !reflect.DeepEqual(more.Pools[:2], one.Pools) {
		t.Error("another zone changed the histories of the first two")
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, c := range map[string]trace.GeneratorConfig{
		"availability of 1":            {Availability: 1},
		"negative correlation":         {Correlation: -0.1},
		"up for less than a tick":      {MeanUp: time.Second},
		"outages shorter than a tick":  {Availability: 0.999, MeanUp: 10 * time.Minute},
		"no span":                      {Span: time.Second},
		"the same zone twice":          {Zones: []string{"us-east-1a", "us-east-1a"}},
		"region fails more than zones": {CoInterruption: 0.99},
	} {
		if _, err := trace.Generate(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
