package keeper_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/capacity/keeper"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// outside is what buys, and what records; both may fail.
type outside struct {
	mu      sync.Mutex
	group   capacity.Group
	records map[string]capacity.Record
	fail    int // so many more calls that write
	order   []string
}

func (o *outside) Kind() capacity.Kind { return capacity.NodePool }

func (o *outside) Groups(context.Context) ([]capacity.Group, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return []capacity.Group{o.group}, nil
}

func (o *outside) failing() bool {
	o.fail--
	return o.fail >= 0
}

func (o *outside) Change(_ context.Context, _ capacity.Group, from, to capacity.Settings) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.failing():
		return errors.New("not now")
	case !o.group.Set.Equal(from):
		return capacity.ErrChanged
	}
	o.group.Set = to
	o.order = append(o.order, "change")
	return nil
}

func (o *outside) Records(context.Context) (map[string]capacity.Record, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.records), nil
}

func (o *outside) Put(_ context.Context, key string, r *capacity.Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.failing():
		return errors.New("not now")
	case r == nil:
		delete(o.records, key)
		o.order = append(o.order, "forget")
	default:
		o.records[key] = *r
		o.order = append(o.order, map[bool]string{false: "record", true: "mark"}[r.Made])
	}
	return nil
}

func node(name, instanceType, zone, record string) cluster.Change {
	return cluster.Change{Object: &cluster.Node{
		Name: name, Pool: "workers", InstanceType: instanceType, Region: "us-east-1", Zone: zone, Spot: true, Ready: true, Record: record,
	}}
}

func noticed() string {
	return drain.Record{
		Notice:   interruption.Notice{Instance: "i-1", Kind: interruption.SpotInterruption},
		Deadline: time.Now().Add(2 * time.Minute), Stored: time.Now(),
	}.Encode()
}

// TestKeeper: it acts only while it leads; a change is recorded, made and marked, in
// this order, also when requests fail in between; and it is set back.
func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outside{records: make(map[string]capacity.Record), fail: 3, group: capacity.Group{
			Pool: "workers", Kind: capacity.NodePool, Name: "workers", Spot: true,
			Types: []string{"c5.large", "m5.large"}, Zones: []string{"us-east-1a", "us-east-1b"}, Set: capacity.Settings{Weight: 100},
		}}
		var mu sync.Mutex
		var advice []capacity.Advice
		failed := 0
		k := keeper.New(keeper.Config{
			Capacity: capacity.Config{Mode: capacity.Act}, Buyers: []keeper.Buyers{o}, Store: o, Log: slog.New(slog.DiscardHandler),
			Advised: func(a []capacity.Advice) { mu.Lock(); advice = a; mu.Unlock() },
			Done: func(_ capacity.Effect, err error) {
				if err != nil {
					failed++
				}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		k.Changed([]cluster.Change{
			node("n1", "m5.large", "us-east-1a", ""), node("n2", "c5.large", "us-east-1b", ""),
			{Object: &cluster.Pod{}}, // of no interest
		})
		time.Sleep(time.Minute)
		if advice != nil || len(o.order) > 0 {
			t.Errorf("without leading: %v, %v", advice, o.order)
		}
		k.Leading(true)
		time.Sleep(2 * time.Second)
		if len(advice) != 1 || advice[0].Want != 2 {
			t.Fatalf("advice %+v", advice)
		}
		k.Changed([]cluster.Change{node("n1", "m5.large", "us-east-1a", noticed())})
		time.Sleep(2 * time.Minute) // it looks every 15 s, so three failures take 45
		if failed != 3 || o.group.Set.NoTypes[0] != "m5.large" {
			t.Errorf("%d failures, settings %+v", failed, o.group.Set)
		}
		k.Changed([]cluster.Change{{Object: node("n1", "m5.large", "us-east-1a", "").Object, Gone: true}, node("n3", "c5.large", "us-east-1b", "")})
		time.Sleep(2 * time.Hour)
		want := []string{"record", "change", "mark", "record", "change", "mark", "forget"}
		if len(o.order) != len(want) {
			t.Fatalf("done: %v, want %v", o.order, want)
		}
		for i := range want {
			if o.order[i] != want[i] {
				t.Errorf("done: %v, want %v", o.order, want)
				break
			}
		}
		if !o.group.Set.Equal(capacity.Settings{Weight: 100}) || len(o.records) > 0 {
			t.Errorf("in the end: %+v, %+v", o.group.Set, o.records)
		}
		k.Leading(false)
		time.Sleep(2 * time.Second)
		if advice != nil {
			t.Errorf("advice of one that does not lead any more: %+v", advice)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
