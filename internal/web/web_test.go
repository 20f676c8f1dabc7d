package web

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// TestCatalog counts one of everything and compares what is exported with the
// catalogue, both ways.
func TestCatalog(t *testing.T) {
	m := NewMeter()
	m.Notice(interruption.Notice{Cloud: interruption.AWS, Kind: interruption.SpotInterruption}, drain.NoticeReceived, 0)
	m.Effect(drain.Effect{Kind: drain.Store, Reason: drain.NoticeReceived}, drain.Done, time.Second)
	m.Effect(drain.Effect{Kind: drain.Store, Reason: drain.NodeEmptied}, drain.Done, time.Minute)
	m.Message("malformed")
	m.Step(time.Millisecond)
	m.Synced()
	m.Leading(true)
	m.Notified("slack", "sent")
	m.Observe(drain.Event{Kind: drain.EventPod, Effect: drain.Evict, Outcome: drain.Blocked, Pod: cluster.Key{Namespace: "shop"}, Budget: "web"})
	m.Observe(drain.Event{Kind: drain.EventPod, Effect: drain.Evict, Outcome: drain.Done, Reason: drain.ReplacementReady})
	m.Observe(drain.Event{Kind: drain.EventMissed, Lost: 1})
	m.CountCosts(price.Builtin())([]cluster.Change{{Object: &cluster.Node{Name: "a", Pool: "web", Region: "us-east-1", InstanceType: "m5.large", Spot: true}}})
	c := m.CountCapacity()
	c.Advised([]capacity.Advice{{Pool: "web", Want: 2, Hindered: []capacity.Reason{capacity.MachinesThere}}})
	c.Done(capacity.Effect{Kind: "exclude", Reason: capacity.PoolReclaimed}, nil)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := make(map[string]bool)
	for _, f := range families {
		exported[f.GetName()] = true
	}
	for _, c := range metrics.Catalog {
		if !exported[c.Name] {
			t.Errorf("%s is in the catalogue and not exported", c.Name)
		}
		delete(exported, c.Name)
	}
	for name := range exported {
		if len(name) > 9 && name[:9] == "evenkeel_" {
			t.Errorf("%s is exported and not in the catalogue", name)
		}
	}
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestObserve tells the Meter whole lives of interruptions.
func TestObserve(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	rec := func(instance string) drain.Record {
		return drain.Record{
			Notice:   interruption.Notice{Instance: interruption.InstanceID(instance), Kind: interruption.SpotInterruption},
			Deadline: at.Add(2 * time.Minute), Stored: at,
		}
	}
	emptied := func(r drain.Record, after time.Duration) drain.Record { r.Emptied = at.Add(after); return r }
	pod := func(effect drain.Kind, why drain.Reason, o drain.Outcome, budget string) drain.Event {
		return drain.Event{Kind: drain.EventPod, Record: rec("i-1"), Pool: "engine", Pod: cluster.Key{Namespace: "shop", Name: "web-1"}, Effect: effect, Reason: why, Outcome: o, Budget: budget}
	}
	event := func(k drain.EventKind, r drain.Record, lost float64) drain.Event {
		return drain.Event{Kind: k, Record: r, Pool: "engine", Lost: lost}
	}
	for _, tc := range []struct {
		name   string
		events []drain.Event
		want   map[string]float64 // by name, and label values where there are some
	}{
		{"emptied in time", []drain.Event{
			event(drain.EventNoticed, rec("i-1"), 0),
			pod(drain.Handoff, drain.HandOff, drain.Done, ""),
			pod(drain.Evict, drain.ReplacementReady, drain.Blocked, "web"),
			pod(drain.Withdraw, drain.LeavesBalancer, drain.Done, ""),
			pod(drain.Evict, drain.ReplacementReady, drain.Done, ""),
			pod(drain.Evict, drain.NoDeployment, drain.Done, ""),
			pod(drain.Delete, drain.BudgetAtLatest, drain.Done, ""),
			event(drain.EventEmptied, emptied(rec("i-1"), time.Minute), 1.5),
			event(drain.EventClosed, emptied(rec("i-1"), time.Minute), 2),
		}, map[string]float64{
			"interruptions engine spot-interruption emptied": 1, "pods handoff replacement-ready": 1, "pods evict no-deployment": 1,
			"pods delete budget-at-latest-start": 1, "blocked shop/web": 1, "lost": 2, "draining": 0,
		}},
		{"missed, and emptied later", []drain.Event{
			event(drain.EventNoticed, rec("i-1"), 0), event(drain.EventNoticed, rec("i-2"), 0),
			event(drain.EventMissed, rec("i-1"), 3), event(drain.EventEmptied, emptied(rec("i-1"), 3*time.Minute), 4),
		}, map[string]float64{"interruptions engine spot-interruption missed": 1, "lost": 4, "draining": 1}},
		{"a controller that takes over", []drain.Event{
			event(drain.EventNoticed, emptied(rec("i-1"), time.Minute), 0), event(drain.EventClosed, emptied(rec("i-1"), time.Minute), 0),
			event(drain.EventEmptied, emptied(rec("i-2"), time.Minute), 0),
		}, map[string]float64{"interruptions engine spot-interruption emptied": 1, "draining": 0}},
		{"cancelled", []drain.Event{event(drain.EventNoticed, rec("i-1"), 0), event(drain.EventCancelled, rec("i-1"), 0)},
			map[string]float64{"interruptions engine spot-interruption cancelled": 1, "draining": 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := NewMeter()
			for _, e := range tc.events {
				m.Observe(e)
			}
			got := map[string]float64{"draining": testutil.ToFloat64(m.draining)}
			if lost := testutil.ToFloat64(m.lost); lost != 0 {
				got["lost"] = lost
			}
			families, err := m.registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			short := map[string]string{metrics.Interruptions.Name: "interruptions", metrics.Pods.Name: "pods", metrics.Blocked.Name: "blocked"}
			for _, f := range families {
				name, ok := short[f.GetName()]
				if !ok {
					continue
				}
				for _, sample := range f.GetMetric() {
					key, labels := name, make(map[string]string)
					for _, l := range sample.GetLabel() {
						labels[l.GetName()] = l.GetValue()
					}
					for _, l := range slices.Concat(metrics.Interruptions.Labels, metrics.Pods.Labels, metrics.Blocked.Labels) {
						if v, ok := labels[l]; ok {
							key += " " + v
						}
					}
					got[key] = sample.GetCounter().GetValue()
				}
			}
			if !maps.Equal(got, tc.want) {
				t.Errorf("got  %v\nwant %v", got, tc.want)
			}
		})
	}
}

// TestBudgetsAreBounded: however many budgets block, so many names and no more.
func TestBudgetsAreBounded(t *testing.T) {
	m := NewMeter()
	for i := range 500 {
		m.Observe(drain.Event{Kind: drain.EventPod, Effect: drain.Evict, Outcome: drain.Blocked, Budget: fmt.Sprintf("b%d", i)})
	}
	if n := testutil.CollectAndCount(m.blocked); n != mostBudgets+1 {
		t.Errorf("%d series, want %d", n, mostBudgets+1)
	}
	if n := testutil.ToFloat64(m.blocked.WithLabelValues("other")); n != 400 {
		t.Errorf("other: %v, want 400", n)
	}
}

// TestServe reads the endpoints as probes do. One that stands by is ready.
func TestServe(t *testing.T) {
	m := NewMeter()
	h := m.handler()
	get := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if live, ready := get("/livez"), get("/readyz"); live != 200 || ready != 503 {
		t.Errorf("at the start: live %d, ready %d; want 200 and 503", live, ready)
	}
	m.Synced()
	m.Leading(false)
	if ready := get("/readyz"); ready != 200 {
		t.Errorf("standing by with the cluster known: ready %d, want 200", ready)
	}
	if code := get("/metrics"); code != 200 {
		t.Errorf("metrics: %d", code)
	}
}
