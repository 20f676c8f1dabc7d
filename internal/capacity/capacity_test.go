package capacity_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

var start = time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)

// world is a cluster whose settings, Records and nodes the tests change.
type world struct {
	t       *testing.T
	now     time.Time
	state   *capacity.State
	config  capacity.Config
	nodes   map[string]*cluster.Node
	groups  []capacity.Group
	records map[string]string // as they are stored
	past    []capacity.Reclaim
	changes []time.Time
	stored  []time.Time // when changes were recorded
	tick    time.Duration
	events  []capacity.Event
	last    capacity.Output
}

func newWorld(t *testing.T, c capacity.Config, groups ...capacity.Group) *world {
	return &world{
		t: t, now: start, tick: 10 * time.Second, state: capacity.NewState(c), config: c, groups: groups,
		nodes: make(map[string]*cluster.Node), records: make(map[string]string),
	}
}

func (w *world) node(name, pool, instanceType, zone string, spot bool) {
	w.nodes[name] = &cluster.Node{
		Name: name, Pool: pool, InstanceType: instanceType, Region: "us-east-1", Zone: zone, Spot: spot, Ready: true, Created: w.now,
	}
}

// notice gives nodes notice.
func (w *world) notice(names ...string) {
	for _, name := range names {
		n := *w.nodes[name]
		r := drain.Record{
			Notice:   interruption.Notice{Instance: interruption.InstanceID("i-" + name), Kind: interruption.SpotInterruption},
			Deadline: w.now.Add(2 * time.Minute), Stored: w.now, Cordoned: true,
		}
		n.Record = r.Encode()
		w.nodes[name] = &n
	}
}

func (w *world) input() capacity.Input {
	in := capacity.Input{Now: w.now, Groups: slices.Clone(w.groups), Records: make(map[string]capacity.Record), Past: w.past}
	w.past = nil
	for _, n := range w.nodes {
		in.Nodes = append(in.Nodes, n)
	}
	for key, text := range w.records {
		r, err := capacity.DecodeRecord(text)
		if err != nil {
			w.t.Fatal(err)
		}
		in.Records[key] = r
	}
	return in
}

func (w *world) step() capacity.Output {
	w.last = w.state.Step(w.input())
	w.events = append(w.events, w.last.Events...)
	return w.last
}

// do carries effects out as the shell does, until there are none.
func (w *world) do() {
	for range 10 {
		out := w.step()
		if len(out.Effects) == 0 {
			return
		}
		for _, e := range out.Effects {
			w.apply(e)
		}
	}
	w.t.Fatal("the effects do not end")
}

func (w *world) apply(e capacity.Effect) {
	switch e.Kind {
	case capacity.Store:
		if e.Record == nil {
			delete(w.records, e.Key)
		} else {
			w.records[e.Key] = e.Record.Encode()
			if !e.Record.Made && e.Record.Left.IsZero() {
				w.stored = append(w.stored, e.Record.At)
			}
		}
	case capacity.Change:
		for i := range w.groups {
			if g := &w.groups[i]; g.Key() == e.Key {
				if !g.Set.Equal(e.From) {
					w.t.Fatalf("%s is changed from %+v, and is set to %+v", e.Key, e.From, g.Set)
				}
				if w.records[e.Key] == "" {
					w.t.Fatalf("%s is changed and nothing is recorded", e.Key)
				}
				g.Set = e.To
				w.changes = append(w.changes, w.now)
			}
		}
	}
}

// pass lets time pass, with a look every few seconds.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(w.tick, end.Sub(w.now)))
		w.do()
	}
}

func (w *world) advice(pool string) capacity.Advice {
	for _, a := range w.last.Advice {
		if a.Pool == pool {
			return a
		}
	}
	w.t.Fatalf("no advice for %s", pool)
	return capacity.Advice{}
}

func (w *world) set(key string) capacity.Settings {
	for _, g := range w.groups {
		if g.Key() == key {
			return g.Set
		}
	}
	w.t.Fatalf("no group %s", key)
	return capacity.Settings{}
}

func (w *world) expect(what string, got, want any) {
	w.t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func says(a capacity.Advice, why capacity.Reason, text string) bool {
	return slices.ContainsFunc(a.Lines, func(l capacity.Line) bool { return l.Reason == why && strings.Contains(l.Text, text) })
}

func workers(weight int) capacity.Group {
	return capacity.Group{
		Pool: "workers", Kind: capacity.NodePool, Name: "workers", Spot: true,
		Types: []string{"c5.large", "m5.large"}, Zones: []string{"us-east-1a", "us-east-1b"},
		Set: capacity.Settings{Weight: weight},
	}
}

func stable(weight int) capacity.Group {
	return capacity.Group{Pool: "stable", Kind: capacity.NodePool, Name: "stable", OnDemand: true, Set: capacity.Settings{Weight: weight}}
}

// TestCalm: where nothing happens, nothing is advised and nothing done.
func TestCalm(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, workers(100), stable(10))
	for i, at := range []string{"a", "b", "a", "b"} {
		w.node(fmt.Sprint("n", i), "workers", []string{"m5.large", "c5.large"}[i/2], "us-east-1"+at, true)
	}
	w.node("s0", "stable", "m5.large", "us-east-1a", false)
	w.do()
	w.pass(30 * time.Minute)
	a := w.advice("workers")
	w.expect("wanted", a.Want, 4)
	w.expect("ready", a.Ready, 4)
	w.expect("changes", len(w.changes), 0)
	w.expect("records", len(w.records), 0)
	if len(w.last.Advice) != 1 {
		t.Errorf("advice for %d pools, want one: what is on demand needs none", len(w.last.Advice))
	}
}

// TestExclude: a type whose machines all went is excluded for a time, and taken in
// again when that and a calm are over.
func TestExclude(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, workers(100), stable(10))
	w.node("n0", "workers", "m5.large", "us-east-1a", true)
	w.node("n1", "workers", "c5.large", "us-east-1a", true)
	w.node("n2", "workers", "c5.large", "us-east-1b", true)
	w.do()
	w.pass(time.Hour)
	w.notice("n0")
	w.do()
	w.expect("excluded", w.set("NodePool.workers"), capacity.Settings{Weight: 100, NoTypes: []string{"m5.large"}})
	a := w.advice("workers")
	w.expect("wanted", a.Want, 3)
	w.expect("leaving", a.Leaving, 1)
	if !says(a, capacity.PoolReclaimed, "buy nothing in m5.large in us-east-1a until 2026-11-26T06:10:00Z") {
		t.Errorf("advice: %+v", a.Lines)
	}
	w.pass(30 * time.Second)
	w.node("n3", "workers", "c5.large", "us-east-1b", true)
	w.pass(90 * time.Second)
	delete(w.nodes, "n0")
	w.pass(8 * time.Minute)
	w.expect("still excluded", w.set("NodePool.workers").NoTypes, []string{"m5.large"})
	w.pass(9 * time.Minute)
	w.expect("excluded until it has been calm", w.set("NodePool.workers").NoTypes, []string{"m5.large"})
	w.pass(2 * time.Minute)
	w.expect("taken in again", w.set("NodePool.workers"), capacity.Settings{Weight: 100})
	w.pass(time.Hour)
	w.expect("records", w.records, map[string]string{})
	w.expect("changes", len(w.changes), 2)
	var kinds []capacity.EventKind
	for _, e := range w.events {
		if e.Kind != capacity.Advised {
			kinds = append(kinds, e.Kind)
		}
	}
	w.expect("events", kinds, []capacity.EventKind{capacity.Reclaimed, capacity.Recorded, capacity.Marked, capacity.Returned, capacity.Recorded, capacity.Marked})

	// The next reclaim within a day is held for twice as long.
	w.node("n4", "workers", "m5.large", "us-east-1a", true)
	w.do()
	w.notice("n4")
	w.do()
	for _, q := range w.advice("workers").Places {
		if q.Place.InstanceType == "m5.large" && q.Zone == "us-east-1a" {
			w.expect("held", q.Avoided.Sub(w.now), 20*time.Minute)
		}
	}
}

// TestExcludeReplacesNothing: Karpenter replaces machines that their NodePool does
// not allow any more, so nothing is excluded of which machines stay.
func TestExcludeReplacesNothing(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, workers(100), stable(10))
	w.node("n0", "workers", "m5.large", "us-east-1a", true)
	w.node("n1", "workers", "m5.large", "us-east-1b", true)
	w.node("n2", "workers", "c5.large", "us-east-1a", true)
	w.do()
	w.notice("n0")
	w.do()
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 100})
	w.expect("hindered", w.advice("workers").Hindered, []capacity.Reason{capacity.MachinesThere})
	// The one in the same zone goes too: now the zone can be excluded.
	w.pass(5 * time.Second)
	w.notice("n2")
	w.do()
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 100, NoZones: []string{"us-east-1a"}})
	// A machine that was on its way comes up there all the same: the exclusion goes.
	w.pass(2 * time.Minute)
	w.node("n3", "workers", "c5.large", "us-east-1a", true)
	w.pass(time.Minute)
	for _, z := range w.set("NodePool.workers").NoZones {
		t.Errorf("zone %s is excluded while a machine stays there", z)
	}
}

// TestBridge: where no spot machine would be ready in time, NodePools that sell on
// demand are tried first, until that is over.
func TestBridge(t *testing.T) {
	g := workers(100)
	g.Types, g.Zones = []string{"m5.large"}, []string{"us-east-1a"}
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, g, stable(10))
	for i := range 3 {
		w.node(fmt.Sprint("n", i), "workers", "m5.large", "us-east-1a", true)
	}
	w.do()
	w.pass(time.Hour)
	w.notice("n0", "n1", "n2")
	w.do()
	w.pass(40 * time.Second)
	a := w.advice("workers")
	w.expect("on demand", a.Asked, 3)
	if !says(a, capacity.Bridge, "buy 3 machines on demand") {
		t.Errorf("advice: %+v", a.Lines)
	}
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 9})
	for i := range 3 {
		w.node(fmt.Sprint("s", i), "stable", "m5.large", "us-east-1a", false)
	}
	w.pass(10 * time.Second)
	w.expect("on demand", w.advice("workers").OnDemand, 3)
	w.expect("asked", w.advice("workers").Asked, 0)
	w.expect("wanted", w.advice("workers").Want, 3)
	for i := range 3 {
		delete(w.nodes, fmt.Sprint("n", i))
	}
	w.pass(25 * time.Minute)
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 100})
	for n := 0; !says(w.advice("workers"), capacity.SpotReady, "buy 3 machines in m5.large in us-east-1a"); n++ {
		if n == 30 {
			t.Fatalf("advice while on demand stands in: %+v", w.advice("workers").Lines)
		}
		w.pass(10 * time.Second) // what does not come is not asked for for a minute
	}
	for i := range 3 {
		w.node(fmt.Sprint("m", i), "workers", "m5.large", "us-east-1a", true)
	}
	w.pass(10 * time.Second)
	if a := w.advice("workers"); !says(a, capacity.SpotReady, "let 3 machines on demand go") {
		t.Errorf("advice when spot is ready: %+v, %+v", a.Lines, a)
	}
	for i := range 3 {
		delete(w.nodes, fmt.Sprint("s", i))
	}
	w.pass(10 * time.Minute)
	w.expect("wanted", w.advice("workers").Want, 3)
}

// TestNoBridge: without a NodePool that sells on demand the weight is of no use, and
// that is said once.
func TestNoBridge(t *testing.T) {
	for _, weight := range []int{0, 1} {
		g := workers(50)
		g.Types, g.Zones = []string{"m5.large"}, []string{"us-east-1a"}
		w := newWorld(t, capacity.Config{Mode: capacity.Act}, g, stable(weight))
		w.node("n0", "workers", "m5.large", "us-east-1a", true)
		w.do()
		w.notice("n0")
		w.pass(time.Minute)
		w.expect("weight", w.set("NodePool.workers").Weight, 50)
		n := 0
		for _, e := range w.events {
			if e.Kind == capacity.Hindered && e.Reason == capacity.NoBridgePool {
				n++
			}
		}
		w.expect("said", n, 1)
	}
}

// TestPerson: what somebody else sets is left alone, whenever it is set.
func TestPerson(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, workers(100), stable(10))
	w.node("n0", "workers", "m5.large", "us-east-1a", true)
	w.node("n1", "workers", "c5.large", "us-east-1b", true)
	w.do()
	w.notice("n0")
	w.do()
	w.expect("excluded", w.set("NodePool.workers").NoTypes, []string{"m5.large"})
	w.groups[0].Set = capacity.Settings{Weight: 70}
	w.pass(2 * time.Hour)
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 70})
	w.expect("changes", len(w.changes), 1)
	w.expect("hindered", w.advice("workers").Hindered, []capacity.Reason{capacity.PersonsChange})
	if n := len(w.events); w.events[n-1].Kind != capacity.Hindered && !slices.ContainsFunc(w.events, func(e capacity.Event) bool { return e.Kind == capacity.Left }) {
		t.Errorf("nobody is told: %+v", w.events)
	}
	// Its entry is taken away: it is changed again, and set back to what it was then.
	clear(w.records)
	w.node("n2", "workers", "m5.large", "us-east-1a", true)
	w.do()
	w.notice("n2")
	w.do()
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 70, NoTypes: []string{"m5.large"}})
}

// TestScalingGroup: the base on demand is raised for a bridge and lowered after it; a
// type that was reclaimed is left out.
func TestScalingGroup(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, capacity.Group{
		Pool: "asg", Kind: capacity.ScalingGroup, Name: "asg-1", Spot: true, OnDemand: true, Desired: 4,
		Types: []string{"m5.large", "c5.large=2"}[:1], Zones: []string{"us-east-1a"},
		Set: capacity.Settings{Base: 1, Offers: []string{"m5.large", "c5.large=2"}},
	})
	w.node("base", "asg", "m5.large", "us-east-1a", false)
	for i := range 3 {
		w.node(fmt.Sprint("n", i), "asg", "m5.large", "us-east-1a", true)
	}
	w.do()
	w.pass(time.Hour)
	if a := w.advice("asg"); says(a, capacity.SpotReady, "") || a.BridgeNodes != 1 {
		t.Errorf("the base that a person wants is not to be given back: %+v", a)
	}
	w.notice("n0", "n1", "n2")
	w.pass(50 * time.Second)
	w.expect("offers", w.set("AutoScalingGroup.asg-1").Offers, []string{"c5.large=2"})
	w.pass(20 * time.Second)
	w.expect("base", w.set("AutoScalingGroup.asg-1").Base, 4)
	for i := range 3 {
		w.node(fmt.Sprint("d", i), "asg", "m5.large", "us-east-1a", false)
		delete(w.nodes, fmt.Sprint("n", i))
	}
	w.pass(30 * time.Minute)
	w.expect("base while they stand in", w.set("AutoScalingGroup.asg-1").Base, 4)
	for i := range 3 {
		w.node(fmt.Sprint("m", i), "asg", "m5.large", "us-east-1a", true)
	}
	w.pass(30 * time.Minute)
	w.expect("afterwards", w.set("AutoScalingGroup.asg-1"), capacity.Settings{Base: 1, Offers: []string{"m5.large", "c5.large=2"}})
}

// TestAdvise: without being told to act, nothing is changed and nothing recorded.
func TestAdvise(t *testing.T) {
	w := newWorld(t, capacity.Config{}, workers(100), stable(10))
	w.node("n0", "workers", "m5.large", "us-east-1a", true)
	w.do()
	w.notice("n0")
	w.pass(time.Minute)
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 100})
	w.expect("records", len(w.records), 0)
	if a := w.advice("workers"); len(a.Lines) < 2 {
		t.Errorf("advice: %+v", a)
	}
}

// TestRestore sets groups back at once.
func TestRestore(t *testing.T) {
	w := newWorld(t, capacity.Config{Mode: capacity.Act}, workers(100), stable(10))
	w.node("n0", "workers", "m5.large", "us-east-1a", true)
	w.node("n1", "workers", "c5.large", "us-east-1b", true)
	w.do()
	w.notice("n0")
	w.do()
	w.expect("excluded", w.set("NodePool.workers").NoTypes, []string{"m5.large"})
	w.state = capacity.NewState(capacity.Config{Mode: capacity.Restore})
	w.do()
	w.expect("settings", w.set("NodePool.workers"), capacity.Settings{Weight: 100})
	w.expect("records", len(w.records), 0)
}

// TestPast: interruptions of a proof record count, and hold places.
func TestPast(t *testing.T) {
	w := newWorld(t, capacity.Config{}, workers(100))
	w.node("n0", "workers", "c5.large", "us-east-1a", true)
	w.past = []capacity.Reclaim{
		{At: start.Add(-9 * time.Hour), Pool: "workers", InstanceType: "m5.large", Zone: "us-east-1b"},
		{At: start.Add(-5 * time.Minute), Pool: "workers", InstanceType: "m5.large", Zone: "us-east-1b"},
		{At: start.Add(-4 * time.Minute), Pool: "workers", InstanceType: "m5.large", Zone: "us-east-1b"}, // the same
		{At: start.Add(-time.Minute), Pool: "workers", Zone: "us-east-1a"},
		{At: start, Pool: "another", Zone: "us-east-1a"},
	}
	w.step()
	got := make(map[string]string)
	for _, q := range w.advice("workers").Places {
		got[q.Place.String()] = fmt.Sprint(q.Reclaims, " ", q.Avoided.Sub(start))
	}
	w.expect("places", got, map[string]string{
		"m5.large in us-east-1a": "1 9m0s", "c5.large in us-east-1a": "1 9m0s", "m5.large in us-east-1b": "2 15m0s",
		"c5.large in us-east-1b": "0 " + time.Time{}.Sub(start).String(),
	})
}

// TestCrashes plays reclaims while the process is killed between any two effects,
// answers get lost, and a person changes settings: what is ours is set back in the
// end, what is a person's stays, and there are never too many changes.
func TestCrashes(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 6))
		c := capacity.Config{Mode: capacity.Act}
		w := newWorld(t, c, workers(100), stable(10))
		person := false
		next := 0
		add := func() {
			types, zones := workers(0).Types, workers(0).Zones
			set := w.set("NodePool.workers")
			for range 20 {
				it, z := types[r.IntN(2)], zones[r.IntN(2)]
				if slices.Contains(set.NoTypes, it) || slices.Contains(set.NoZones, z) {
					continue
				}
				w.node(fmt.Sprint("n", next), "workers", it, z, true)
				next++
				return
			}
		}
		for range 4 {
			add()
		}
		w.step()
		crashes := 0
		for range 300 {
			w.now = w.now.Add(time.Duration(1+r.IntN(30)) * time.Second)
			switch r.IntN(12) {
			case 0:
				for name, n := range w.nodes {
					if n.Record == "" {
						w.notice(name)
						break
					}
				}
			case 1:
				for name, n := range w.nodes {
					if n.Record != "" {
						delete(w.nodes, name)
					}
				}
			case 2:
				if len(w.nodes) < 6 {
					add()
				}
			case 3:
				w.state = capacity.NewState(c)
				crashes++
			case 4:
				if r.IntN(20) == 0 && !person {
					person = true
					w.groups[0].Set = capacity.Settings{Weight: 33}
				}
			}
			for _, e := range w.step().Effects {
				if r.IntN(4) == 0 {
					break // lost, and what comes after it is void
				}
				w.apply(e)
				if r.IntN(8) == 0 {
					w.state = capacity.NewState(c)
					crashes++
					break
				}
			}
		}
		for name := range w.nodes {
			delete(w.nodes, name)
		}
		for range 4 {
			add()
		}
		w.tick = time.Minute
		w.pass(20 * time.Hour)
		want := capacity.Settings{Weight: 100}
		if person {
			want = capacity.Settings{Weight: 33}
		}
		if got := w.set("NodePool.workers"); !got.Equal(want) {
			t.Errorf("seed %d, %d crashes, person %v: it ends with %+v, records %v", seed, crashes, person, got, w.records)
		}
		if !person && len(w.records) > 0 {
			t.Errorf("seed %d: records are left: %v", seed, w.records)
		}
		for i := range w.stored {
			n := 0
			for _, at := range w.stored[i:] {
				if at.Sub(w.stored[i]) < time.Hour {
					n++
				}
			}
			if n > 10 {
				t.Errorf("seed %d: %d changes within an hour", seed, n)
			}
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(capacity.Record{Was: capacity.Settings{Weight: 100}, Want: capacity.Settings{Weight: 9, NoTypes: []string{"m5.large"}}, At: start}.Encode())
	f.Fuzz(func(t *testing.T, text string) {
		r, err := capacity.DecodeRecord(text)
		if err != nil {
			return
		}
		again, err := capacity.DecodeRecord(r.Encode())
		if err != nil || again.Encode() != r.Encode() {
			t.Errorf("%q becomes %q, %v", text, r.Encode(), err)
		}
	})
}
