package bill_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

func TestLedger(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := new(price.Table)
	table.Add("m5.large", "us-east-1", "", price.OnDemand, price.Quote{PerHour: 100_000, Date: start})
	table.Add("m5.large", "us-east-1", "", price.Spot, price.Quote{PerHour: 40_000, Date: start.AddDate(0, -1, 0)})
	table.AddInstance(price.Instance{Type: "m5.large", Allocatable: price.Allocatable{CPUMilli: 2000, MemoryMiB: 8000}})
	node := func(name string, spot bool) *cluster.Node {
		return &cluster.Node{Name: name, Pool: "web", Region: "us-east-1", Zone: "us-east-1a", InstanceType: "m5.large", Spot: spot}
	}
	l := bill.NewLedger(table, start)
	l.Apply([]cluster.Change{
		{Object: node("a", true)}, {Object: node("b", true)}, {Object: node("c", false)},
		{Object: &cluster.Node{Name: "d", InstanceType: "u9.huge"}},
		{Object: &cluster.Pod{
			Key: cluster.Key{Namespace: "x", Name: "room"}, Node: "c", CPUMilli: 500, Memory: 4000 << 20,
			Labels: labels.Set{"app.kubernetes.io/component": "headroom"},
		}},
		{Object: &cluster.Pod{Key: cluster.Key{Namespace: "x", Name: "other"}, Node: "c", CPUMilli: 500}},
	}, start)

	a := l.At(start.Add(90 * time.Minute))
	if len(a.Lines) != 3 || a.Lines[2].Nodes != 2 || a.Lines[2].Sum != (bill.Sum{Cost: 80_000, OnDemand: 200_000}) {
		t.Errorf("lines = %+v", a.Lines)
	}
	if a.Spent != 270_000 || a.Saved != 180_000 { // 180 and 120 an hour
		t.Errorf("spent %s, saved %s after 1.5 h", a.Spent, a.Saved)
	}
	if a.Headroom != 50_000 {
		t.Errorf("headroom costs %s, want half of the on-demand node", a.Headroom)
	}
	if a.Unpriced != 1 || !a.Oldest.Equal(start.AddDate(0, -1, 0)) {
		t.Errorf("unpriced %d, oldest %v", a.Unpriced, a.Oldest)
	}

	// A node that is told of again counts once; one that goes counts no more.
	l.Apply([]cluster.Change{{Object: node("a", true)}, {Object: node("b", true), Gone: true}}, start.Add(2*time.Hour))
	a = l.At(start.Add(3 * time.Hour))
	if want := price.Micros(2*180_000 + 140_000); a.Spent != want {
		t.Errorf("spent %s after 3 h, want %s", a.Spent, want)
	}
	// Time that does not pass, or goes back, changes nothing.
	if again := l.At(start.Add(time.Hour)); again.Spent != a.Spent || again.Saved != a.Saved {
		t.Errorf("%+v, then %+v", a, again)
	}
}

// TestLedgerCarries: many small steps cost as much as one.
func TestLedgerCarries(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	table := new(price.Table)
	table.Add("t", "r", "", price.OnDemand, price.Quote{PerHour: 99_999, Date: start})
	l := bill.NewLedger(table, start)
	l.Apply([]cluster.Change{{Object: &cluster.Node{Name: "a", Region: "r", InstanceType: "t"}}}, start)
	for i := range 3600 * 10 {
		l.At(start.Add(time.Duration(i) * 100 * time.Millisecond))
	}
	if a := l.At(start.Add(time.Hour)); a.Spent != 99_999 {
		t.Errorf("an hour in 36000 steps costs %s", a.Spent)
	}
}
