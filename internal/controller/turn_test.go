package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// shared is a cluster that several controllers watch and change, with as much of
// compare-and-swap as the API server has: of two writers of a node one meets a
// conflict, and a pod is changed only by who knows its UID. Every change counts.
type shared struct {
	mu       sync.Mutex
	objects  map[string]cluster.Object
	watchers []chan<- cluster.Update
	serial   int
	changes  map[string]int // "store n", "handoff web-1" -> how often that changed something
}

func newShared(nodes, replicas int) *shared {
	s := &shared{objects: make(map[string]cluster.Object), changes: make(map[string]int)}
	for i := range nodes {
		n := &cluster.Node{Name: fmt.Sprintf("n%d", i), Instance: interruption.InstanceID(fmt.Sprintf("i-%d", i)), Ready: true}
		s.objects["node "+n.Name] = n
	}
	d := &cluster.Deployment{Key: cluster.Key{Namespace: "shop", Name: "web"}, UID: "web", Replicas: replicas}
	rs := &cluster.ReplicaSet{
		Key: cluster.Key{Namespace: "shop", Name: "web-h"}, UID: "web-h", Hash: "h",
		Owner:    cluster.Owner{Kind: "Deployment", Name: "web", UID: "web"},
		Selector: labels.SelectorFromSet(labels.Set{"app": "web", cluster.TemplateHashLabel: "h"}),
	}
	s.objects["deployment"], s.objects["replicaset"] = d, rs
	for i := range replicas {
		s.addPod(fmt.Sprintf("n%d", i%2), true)
	}
	return s
}

// addPod adds a pod of the Deployment; s is locked or not shared yet.
func (s *shared) addPod(node string, ready bool) *cluster.Pod {
	s.serial++
	p := &cluster.Pod{
		Key: cluster.Key{Namespace: "shop", Name: fmt.Sprintf("web-%d", s.serial)}, UID: cluster.UID(fmt.Sprint(s.serial)), Node: node,
		Labels: labels.Set{"app": "web", cluster.TemplateHashLabel: "h"},
		Owner:  cluster.Owner{Kind: "ReplicaSet", Name: "web-h", UID: "web-h"}, Grace: 10 * time.Second, Ready: ready,
	}
	s.put("pod "+p.Name, p)
	return p
}

func (s *shared) put(key string, o cluster.Object) {
	s.objects[key] = o
	s.tell(cluster.Change{Object: o})
}

func (s *shared) tell(ch cluster.Change) {
	for _, w := range s.watchers {
		w <- cluster.Update{Changes: []cluster.Change{ch}}
	}
}

func (s *shared) Watch(ctx context.Context, updates chan<- cluster.Update) error {
	own := make(chan cluster.Update, 10000)
	s.mu.Lock()
	u := cluster.Update{Synced: true}
	for _, o := range s.objects {
		u.Changes = append(u.Changes, cluster.Change{Object: o})
	}
	own <- u
	s.watchers = append(s.watchers, own)
	s.mu.Unlock()
	for {
		select {
		case u := <-own:
			updates <- u
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *shared) Do(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	// The request takes its time, in which another one may be faster.
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
		return drain.Unavailable, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Kind == drain.Store {
		n, ok := s.objects["node "+e.Node].(*cluster.Node)
		want := ""
		if e.Record != nil {
			want = e.Record.Encode()
		}
		switch {
		case !ok:
			return drain.Missing, nil
		case n.Record == want && (!e.Cordon || n.Unschedulable):
			return drain.Done, nil
		case n.Record != e.Old:
			return drain.Conflict, errors.New("another Record is stored there")
		}
		c := *n
		c.Record, c.Unschedulable = want, (n.Unschedulable || e.Cordon) && !e.Uncordon
		s.changes[fmt.Sprintf("store %s %s", e.Node, e.Reason)]++
		s.put("node "+e.Node, &c)
		return drain.Done, nil
	}
	key := "pod " + e.Pod.Name
	p, ok := s.objects[key].(*cluster.Pod)
	if !ok || p.UID != e.UID {
		return drain.Missing, nil
	}
	c := *p
	switch e.Kind {
	case drain.Handoff:
		c.Deadline = drain.FormatDeadline(e.Deadline)
		if p.ReleasedFrom() == "" {
			c.Labels, c.Owner = labels.Set{"app": "web", cluster.HandoffLabel: e.Hash}, cluster.Owner{}
			s.changes["release "+p.Name]++
			r := s.addPod("n9", false)
			time.AfterFunc(8*time.Second, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				ready := *r
				ready.Ready, ready.ReadySince = true, time.Now()
				s.put("pod "+r.Name, &ready)
			})
		}
	case drain.Evict, drain.Delete:
		if !p.Terminating {
			c.Terminating = true
			s.changes["stop "+p.Name]++
			time.AfterFunc(4*time.Second, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.objects, key)
				s.tell(cluster.Change{Object: &c, Gone: true})
			})
		}
	case drain.Announce:
		c.Deadline = drain.FormatDeadline(e.Deadline)
	}
	s.put(key, &c)
	return drain.Done, nil
}

// notices is a source that emits the same notices for as long as its turn lasts,
// again when they are not taken.
type notices []interruption.Notice

func (s notices) Run(ctx context.Context, emit func(context.Context, interruption.Notice) error) error {
	for _, n := range s {
		for emit(ctx, n) != nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	<-ctx.Done()
	return nil
}

type noMeter struct{}

func (noMeter) Notice(interruption.Notice, drain.Reason, time.Duration) {}
func (noMeter) Effect(drain.Effect, drain.Outcome, time.Duration)       {}
func (noMeter) Step(time.Duration)                                      {}
func (noMeter) Synced()                                                 {}

func spotNotices(lead time.Duration, instances ...interruption.InstanceID) notices {
	var out notices
	now := time.Now()
	for _, i := range instances {
		out = append(out, interruption.Notice{
			ID: "m-" + string(i), Cloud: interruption.AWS, Instance: i, Kind: interruption.SpotInterruption,
			Sent: now, Seen: now, Deadline: now.Add(lead),
		})
	}
	return out
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestTwoLeaders lets two controllers act at once, as when one was paused and
// went on without knowing that its turn was over. Everything happens once.
func TestTwoLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(3, 4)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 2 {
			c := New(s, []Source{spotNotices(2*time.Minute, "i-0", "i-1")}, Config{Log: quiet(), Meter: noMeter{}})
			wg.Go(func() {
				if err := c.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		s.mu.Lock()
		for what, times := range s.changes {
			if times != 1 {
				t.Errorf("%s: %d times", what, times)
			}
		}
		for _, what := range []string{"store n0 notice-received", "store n1 notice-received", "store n0 node-emptied", "store n1 node-emptied"} {
			if s.changes[what] == 0 {
				t.Errorf("%s did not happen", what)
			}
		}
		for i := 1; i <= 4; i++ {
			if s.changes[fmt.Sprintf("release web-%d", i)] != 1 || s.changes[fmt.Sprintf("stop web-%d", i)] != 1 {
				t.Errorf("web-%d was not handed off once", i)
			}
		}
		if s.serial != 8 {
			t.Errorf("%d replacements, want 4", s.serial-4)
		}
		s.mu.Unlock()
		cancel()
		wg.Wait()
	})
}

// scripted gives turns of a fixed length, with pauses between.
type scripted struct{ turn, pause time.Duration }

func (s scripted) Lead(ctx context.Context, work func(context.Context) error) error {
	for ctx.Err() == nil {
		turn, cancel := context.WithTimeout(ctx, s.turn)
		err := work(turn)
		cancel()
		if err != nil {
			return err
		}
		select {
		case <-time.After(s.pause):
		case <-ctx.Done():
		}
	}
	return nil
}

// TestTurns interrupts a controller every few seconds. Nothing happens between its
// turns, each turn goes on where the last one stopped, and nothing happens twice.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShared(3, 4)
		ctx, cancel := context.WithCancel(t.Context())
		c := New(s, []Source{spotNotices(2*time.Minute, "i-0", "i-1")}, Config{Log: quiet(), Meter: noMeter{}, Turn: scripted{3 * time.Second, 3 * time.Second}})
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		total := func() (n int) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, times := range s.changes {
				n += times
			}
			return n
		}
		for range 10 {
			time.Sleep(3*time.Second + time.Millisecond) // the turn is just over
			before := total()
			time.Sleep(2900 * time.Millisecond)
			if after := total(); after != before {
				t.Errorf("%d changes while it was not its turn", after-before)
			}
			time.Sleep(99 * time.Millisecond)
		}
		s.mu.Lock()
		for what, times := range s.changes {
			if times != 1 {
				t.Errorf("%s: %d times", what, times)
			}
		}
		if s.changes["store n0 node-emptied"] != 1 || s.changes["store n1 node-emptied"] != 1 || s.serial != 8 {
			t.Errorf("not emptied in turns: %v", s.changes)
		}
		s.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
