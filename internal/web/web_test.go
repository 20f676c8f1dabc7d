package web

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
)

// TestCatalog counts one of everything and compares what is exported with the
// catalogue, both ways.
func TestCatalog(t *testing.T) {
	m := NewMeter()
	m.Notice(interruption.Notice{Cloud: interruption.AWS, Kind: interruption.SpotInterruption}, drain.NoticeReceived, 0)
	m.Effect(drain.Effect{Kind: drain.Store, Reason: drain.NoticeReceived}, drain.Done, time.Second)
	m.Effect(drain.Effect{Kind: drain.Store, Reason: drain.NodeEmptied}, drain.Done, time.Minute)
	m.Step(time.Millisecond)
	m.Synced()
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
