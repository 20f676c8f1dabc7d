package scenario_test

import (
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/trace"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

// checkPlan checks what every plan promises, whatever it came from.
func checkPlan(t *testing.T, s *scenario.Scenario, plan *scenario.Plan) {
	t.Helper()
	const gone = time.Duration(-1)
	there := make(map[string]bool)
	deadline := make(map[string]time.Duration) // by node; gone after the kill
	for _, n := range s.InitialNodes() {
		there[n.Name] = true
	}
	last := time.Duration(0)
	for _, e := range plan.Events {
		if e.At < last {
			t.Fatalf("%v comes after %v:\n%s", e.At, last, plan)
		}
		last = e.At
		if pool, ok := s.Pool(e.Pool); !ok || pool.Zone != e.Zone || len(e.Nodes) == 0 {
			t.Fatalf("event %+v has no pool, zone or nodes", e)
		}
		for _, node := range e.Nodes {
			due, noticed := deadline[node]
			switch e.Kind {
			case scenario.Notice:
				if !there[node] || noticed {
					t.Fatalf("%s gets notice at %v: there %v, had notice %v\n%s", node, e.At, there[node], noticed, plan)
				}
				deadline[node] = e.At + s.NoticeLead
			case scenario.Kill:
				if !noticed || due != e.At {
					t.Fatalf("%s goes at %v, was to go at %v\n%s", node, e.At, due, plan)
				}
				delete(there, node)
				deadline[node] = gone
			case scenario.Join:
				if there[node] || noticed {
					t.Fatalf("%s joins at %v, but was there before\n%s", node, e.At, plan)
				}
				there[node] = true
			default:
				t.Fatalf("event %+v has an unknown kind", e)
			}
		}
	}
	if plan.End < last {
		t.Fatalf("the plan ends at %v, before its last event at %v", plan.End, last)
	}
	for node, due := range deadline {
		if due != gone {
			t.Fatalf("%s got notice but does not go\n%s", node, plan)
		}
	}
}

// acceptable checks what the default rehearsal is to show.
func acceptable(t *testing.T, s *scenario.Scenario, plan *scenario.Plan) {
	t.Helper()
	checkPlan(t, s, plan)
	reclaims, zones := plan.Reclaims()
	if reclaims != 3 || zones != 3 || plan.Interrupted() < 6 {
		t.Errorf("%d reclaims in %d zones take %d nodes, want 3, 3 and at least 6", reclaims, zones, plan.Interrupted())
	}
	seconds := s.Real(plan.End).Seconds()
	if seconds > 185 || seconds*s.Load.Rate < 20_000 {
		t.Errorf("the plan takes %.0f s with %.0f requests, want at most 185 s and at least 20,000", seconds, seconds*s.Load.Rate)
	}

	// How many spot nodes there are without notice, in node pools and in the
	// platform's pools, and in which zones new ones may come up: not between a
	// notice and the return of capacity, which cannot be before the kill.
	spot := map[string]int{}
	platform := map[string]int{}
	closed := map[string]bool{}
	all := 0
	poolOf := func(name string) string { p, _ := s.Pool(name); return p.Pool }
	for _, n := range s.InitialNodes() {
		if p, _ := s.Pool(n.Pool); p.CapacityType == scenario.Spot {
			spot[n.Pool]++
			platform[p.Pool]++
			all++
		}
	}
	want := maps.Clone(platform)
	lastNotice := time.Duration(0)
	for _, e := range plan.Events {
		switch e.Kind {
		case scenario.Notice:
			if len(e.Nodes) != spot[e.Pool] {
				t.Errorf("%d of the %d nodes of %s are reclaimed, want all", len(e.Nodes), spot[e.Pool], e.Pool)
			}
			if lastNotice > 0 && e.At-lastNotice > s.Trace.Compress {
				t.Errorf("%v pass between two reclaims, want at most %v", e.At-lastNotice, s.Trace.Compress)
			}
			lastNotice = e.At
			platform[poolOf(e.Pool)] -= spot[e.Pool]
			all -= spot[e.Pool]
			spot[e.Pool] = 0
			closed[e.Zone] = true
		case scenario.Kill:
			closed[e.Zone] = false
		case scenario.Join:
			if closed[e.Zone] {
				t.Errorf("%v join %s while it has notice", e.Nodes, e.Zone)
			}
			platform[poolOf(e.Pool)] += len(e.Nodes)
			spot[e.Pool] += len(e.Nodes)
			all += len(e.Nodes)
		}
		if all < s.Trace.KeepNodes {
			t.Errorf("at %v only %d spot nodes are left without notice", e.At, all)
		}
		for _, p := range s.Nodes {
			if p.Zone == e.Zone && closed[e.Zone] && spot[p.Name] > 0 && !noticedAt(plan, p.Name, e.At) {
				t.Errorf("%s keeps its nodes at %v, when its zone is reclaimed", p.Name, e.At)
			}
		}
	}
	if !maps.Equal(platform, want) {
		t.Errorf("nodes of the platform's pools at the end: %v, want as many as at the start, %v:\n%s", platform, want, plan)
	}
}

// noticedAt reports whether nodes of a pool get notice at a moment.
func noticedAt(plan *scenario.Plan, pool string, at time.Duration) bool {
	return slices.ContainsFunc(plan.Events, func(e scenario.Event) bool {
		return e.Kind == scenario.Notice && e.Pool == pool && e.At == at
	})
}

func TestGeneratedPlans(t *testing.T) {
	for seed := range uint64(50) {
		s := scenario.Default()
		s.Seed = seed
		plan := generatedPlan(t, s)
		acceptable(t, s, plan)
		if again := generatedPlan(t, s); !reflect.DeepEqual(plan, again) {
			t.Fatalf("seed %d gave two plans:\n%s\n%s", seed, plan, again)
		}
	}
	golden(t, "default-plan", generatedPlan(t, scenario.Default()).String())
}

func generatedPlan(t *testing.T, s *scenario.Scenario) *scenario.Plan {
	t.Helper()
	tr, err := s.GenerateTrace()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := scenario.FromTrace(s, tr, nil)
	if err != nil {
		t.Fatalf("seed %d: %v", s.Seed, err)
	}
	return plan
}

func TestRealPlans(t *testing.T) {
	root := os.Getenv("EVENKEEL_DATA")
	if root == "" {
		t.Skip("EVENKEEL_DATA does not name a folder with the published histories (spot-availability-aws): no real trace to plan from")
	}
	for _, file := range []string{"aws-2022-10-gpu.csv", "aws-2023-02-v100.csv"} {
		tr, err := scenario.OpenTrace(filepath.Join(root, "spot-availability-aws", file), trace.Defaults{})
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			s := scenario.Default()
			s.Seed = seed
			plan, err := scenario.FromTrace(s, tr, nil)
			if err != nil {
				t.Fatal(err)
			}
			acceptable(t, s, plan)
		}
		plan, err := scenario.FromTrace(scenario.Default(), tr, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s", plan)
	}
}

// handmade reads a trace whose ticks take 10 minutes.
func handmade(t *testing.T, rows string) *trace.Trace {
	t.Helper()
	text := "pool,tick,capacity\n" + strings.Join(strings.Fields(rows), "\n") + "\n"
	tr, err := trace.Read(strings.NewReader(text), "handmade.csv", nil, trace.Defaults{Tick: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestFromTrace(t *testing.T) {
	tests := []struct {
		name   string
		rows   string
		change func(*scenario.Scenario)
	}{
		{
			// Order and overlap are kept: b goes while a is still out, so that
			// what was reclaimed there comes up in c; a is back before c goes.
			name:   "one-after-the-other",
			rows:   `x-1a/t,0,1 x-1a/t,10,0 x-1a/t,50,1 x-1b/t,0,1 x-1b/t,40,0 x-1b/t,90,1 x-1c/t,0,1 x-1c/t,80,0 x-1c/t,99,1`,
			change: func(s *scenario.Scenario) { s.Trace.KeepNodes = 0 },
		},
		{
			// Two zones at one moment stay at one moment.
			name:   "two-at-once",
			rows:   `x-1a/t,0,1 x-1a/t,10,0 x-1a/t,50,1 x-1b/t,0,1 x-1b/t,10,0 x-1b/t,50,1 x-1c/t,0,1 x-1c/t,98,0 x-1c/t,99,1`,
			change: func(s *scenario.Scenario) { s.Trace.Events = 2 },
		},
		{
			// Zone b has no nodes of pool engine and c none of pool gateway, and
			// gets none. What neither zone can take is left out: b is back after
			// the last machine is gone.
			name: "like-by-like",
			rows: `x-1a/t,0,1 x-1a/t,10,0 x-1a/t,50,1 x-1b/t,0,1 x-1b/t,20,0 x-1b/t,45,1 x-1c/t,0,1 x-1c/t,98,0 x-1c/t,99,1`,
			change: func(s *scenario.Scenario) {
				s.Trace.Events, s.Trace.KeepNodes = 2, 0
				s.Nodes = slices.DeleteFunc(s.Nodes, func(p scenario.NodePool) bool { return p.Name == "engine-b" || p.Name == "gateway-c" })
			},
		},
		{
			// The second pool of a zone is another failure domain.
			name:   "two-zones-only",
			rows:   `x-1a/t,0,1 x-1a/t,10,0 x-1a/t,50,1 x-1a/u,0,1 x-1a/u,40,0 x-1a/u,90,1 x-1b/t,0,1 x-1b/t,80,0 x-1b/t,99,1`,
			change: func(s *scenario.Scenario) { s.Trace.KeepNodes = 0 },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := scenario.Default()
			if tt.change != nil {
				tt.change(s)
			}
			plan, err := scenario.FromTrace(s, handmade(t, tt.rows), nil)
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, s, plan)
			golden(t, tt.name, plan.String())
		})
	}
}

func TestFromTraceZones(t *testing.T) {
	rows := `x-1a/t,0,1 x-1a/t,10,0 x-1a/t,50,1 x-1b/t,0,1 x-1b/t,40,0 x-1b/t,90,1 x-1c/t,0,1 x-1c/t,80,0 x-1c/t,99,1
		y-1a/t,0,1 y-1a/t,40,0 y-1a/t,42,1 x-1a/u,0,1 x-1a/u,20,0`
	for _, tt := range []struct {
		zones []string
		want  string // in the plan's text, or in the error
	}{
		{nil, "the 3 most available zones of one region, x-1"},
		{[]string{"x-1c", "y-1a", "x-1a/u"}, "us-east-1b (gateway-b, engine-b) plays y-1a/t: available 98 %"},
		{[]string{"x-1a", "x-1a", "x-1b"}, "us-east-1b (gateway-b, engine-b) plays x-1a/u"},
		{[]string{"x-1a", "x-1b"}, "planning from trace handmade.csv: 2 zones are asked for, the scenario has 3 zones to play"},
		{[]string{"x-1a", "x-1b", "x-1z"}, `planning from trace handmade.csv: zone "x-1z" is not in it, or asked for more often than it has pools; its pools are x-1a/t, x-1a/u`},
	} {
		s := scenario.Default()
		s.Trace.Events = 1
		plan, err := scenario.FromTrace(s, handmade(t, rows), tt.zones)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = plan.String()
		}
		if !strings.Contains(got, tt.want) {
			t.Errorf("zones %v:\n%s\nwant %s", tt.zones, got, tt.want)
		}
	}
}

func TestFromTraceWithoutAWayOut(t *testing.T) {
	everywhere := `x-1a/t,0,1 x-1a/t,10,0 x-1b/t,0,1 x-1b/t,10,0 x-1c/t,0,1 x-1c/t,10,0`
	for name, rows := range map[string]string{
		"all zones at once": everywhere,
		"no reclaim":        `x-1a/t,0,1 x-1b/t,0,1 x-1c/t,0,1`,
		"too few pools":     `x-1a/t,0,1 x-1a/t,10,0`,
	} {
		if plan, err := scenario.FromTrace(scenario.Default(), handmade(t, rows), nil); err == nil {
			t.Errorf("%s: no error but\n%s", name, plan)
		}
	}
}

const scripted = `
region: r
load: {rate: 10}
nodes:
- {name: a, pool: p, zone: za, instanceType: t, capacityType: spot, count: 2, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
- {name: b, pool: p, zone: zb, instanceType: t, capacityType: spot, count: 2, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
- {name: base, zone: zb, instanceType: t, capacityType: on-demand, count: 1, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1}
reclaims:
`

// twoPools has the platform's pool p in two zones, and q in one of them.
const twoPools = `
region: r
load: {rate: 10}
nodes:
- {name: pa, pool: p, zone: za, instanceType: t, capacityType: spot, count: 2, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
- {name: qa, pool: q, zone: za, instanceType: t, capacityType: spot, count: 1, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
- {name: pb, pool: p, zone: zb, instanceType: t, capacityType: spot, count: 1, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1, spotPerHour: 0.5}
- {name: q, zone: zb, instanceType: t, capacityType: on-demand, count: 0, cpu: 1, memory: 1Gi, pods: 8, onDemandPerHour: 1}
reclaims:
`

func TestScript(t *testing.T) {
	for name, text := range map[string]string{
		"script-zone":  scripted + "- {at: 50s, zone: za}",
		"script-nodes": scripted + "- {at: 50s, nodes: [a-2, b-1], replace: {after: 60s, count: 1, pool: base}}",
		// Both pools are out at the end of the launch: the replacements of b wait
		// for a, which is back at 350 s, and then take the launch delay again.
		"script-wait": scripted + "- {at: 50s, pool: a, back: 5m}\n- {at: 60s, pool: b}",
		"script-none": scripted + "- {at: 50s, pool: a, replace: {count: 0}}",
		// Only p has a spot pool in another zone: an on-demand one does not count.
		"script-like-by-like": twoPools + "- {at: 50s, zone: za}",
		// Zone a is back in time, and q waits for it.
		"script-like-by-like-wait": twoPools + "- {at: 50s, zone: za, back: 5m}",
		// Three nodes in all: two for p, one for q, in the node pool that is named.
		"script-shares": twoPools + "- {at: 50s, zone: za, replace: {count: 3, pool: q}}",
	} {
		t.Run(name, func(t *testing.T) {
			s, err := scenario.Parse("script.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := s.Script()
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, s, plan)
			golden(t, name, plan.String())
		})
	}

	s, err := scenario.Parse("script.yaml", []byte(scripted+"- {at: 50s, pool: a}\n- {at: 60s, nodes: [a-1]}"))
	if err != nil {
		t.Fatal(err)
	}
	want := "reclaims[1] takes no spot node: none of its nodes is there at 1m0s"
	if _, err := s.Script(); err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}
