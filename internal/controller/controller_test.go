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

// fakeCluster carries effects out on a few objects and shows the changes, each
// after a time that the test sets.
type fakeCluster struct {
	updates chan<- cluster.Update

	mu     sync.Mutex
	nodes  map[string]*cluster.Node
	pods   map[string]*cluster.Pod
	takes  time.Duration // how long an effect takes
	down   bool          // the API server does not answer
	done   []string
	atOnce int // evictions and the like under way
	most   int
}

func (f *fakeCluster) Watch(ctx context.Context, updates chan<- cluster.Update) error {
	f.mu.Lock()
	f.updates = updates
	var all []cluster.Change
	for _, n := range f.nodes {
		all = append(all, cluster.Change{Object: n})
	}
	for _, p := range f.pods {
		all = append(all, cluster.Change{Object: p})
	}
	f.mu.Unlock()
	updates <- cluster.Update{Changes: all}
	updates <- cluster.Update{Synced: true}
	<-ctx.Done()
	return nil
}

func (f *fakeCluster) Do(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	f.mu.Lock()
	takes := f.takes
	if e.Kind != drain.Store {
		f.atOnce++
		f.most = max(f.most, f.atOnce)
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if e.Kind != drain.Store {
			f.atOnce--
		}
	}()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return drain.Unavailable, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return drain.Unavailable, errors.New("connection refused")
	}
	f.done = append(f.done, e.String())
	var change cluster.Change
	if e.Kind == drain.Store {
		n := *f.nodes[e.Node]
		if n.Record != e.Old {
			return drain.Conflict, errors.New("changed")
		}
		n.Record, n.Unschedulable = e.Record.Encode(), true
		f.nodes[e.Node] = &n
		change.Object = &n
	} else {
		p := *f.pods[e.Pod.Name]
		p.Terminating = true
		f.pods[e.Pod.Name] = &p
		change.Object = &p
	}
	f.updates <- cluster.Update{Changes: []cluster.Change{change}}
	return drain.Done, nil
}

// fakeSource emits what the test sends.
type fakeSource struct {
	emit func(context.Context, interruption.Notice) error
	up   chan struct{}
}

func (s *fakeSource) Run(ctx context.Context, emit func(context.Context, interruption.Notice) error) error {
	s.emit = emit
	close(s.up)
	<-ctx.Done()
	return nil
}

type countingMeter struct {
	mu      sync.Mutex
	answers map[drain.Reason]int
}

func (m *countingMeter) Notice(_ interruption.Notice, a drain.Reason, _ time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[a]++
}
func (m *countingMeter) Effect(drain.Effect, drain.Outcome, time.Duration) {}
func (m *countingMeter) Step(time.Duration)                                {}
func (m *countingMeter) Synced()                                           {}

func notice(node string) interruption.Notice {
	now := time.Now()
	return interruption.Notice{
		ID: node, Cloud: interruption.AWS, Kind: interruption.SpotInterruption,
		Instance: interruption.InstanceID("i-" + node), Sent: now, Seen: now, Deadline: now.Add(2 * time.Minute),
	}
}

// newFake returns a cluster of nodes with bare pods, which are evicted at once.
func newFake(nodes, podsEach int) *fakeCluster {
	f := &fakeCluster{nodes: make(map[string]*cluster.Node), pods: make(map[string]*cluster.Pod), takes: 10 * time.Millisecond}
	for i := range nodes {
		n := &cluster.Node{Name: fmt.Sprintf("n%d", i), Ready: true}
		n.Instance = interruption.InstanceID("i-" + n.Name)
		f.nodes[n.Name] = n
		for j := range podsEach {
			name := fmt.Sprintf("p%d-%d", i, j)
			f.pods[name] = &cluster.Pod{Key: cluster.Key{Name: name}, UID: cluster.UID(name), Node: n.Name, Labels: labels.Set{}, Ready: true, Grace: time.Second}
		}
	}
	return f
}

// start runs a controller in the test's bubble, and returns its source.
func start(t *testing.T, f *fakeCluster, cfg Config) *fakeSource {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Meter == nil {
		cfg.Meter = &countingMeter{answers: make(map[drain.Reason]int)}
	}
	s := &fakeSource{up: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	c := New(f, []Source{s}, cfg)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running: %v", err)
		}
	})
	<-s.up
	return s
}

func TestNoticeIsAnsweredWhenStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1, 0)
		s := start(t, f, Config{})
		if err := s.emit(t.Context(), notice("n0")); err != nil {
			t.Fatal(err)
		}
		if n := f.nodes["n0"]; n.Record == "" || !n.Unschedulable {
			t.Errorf("answered before it was stored: %+v", n)
		}
		if err := s.emit(t.Context(), notice("elsewhere")); !errors.Is(err, interruption.ErrNotOurs) {
			t.Errorf("an instance that is not ours: %v", err)
		}
	})
}

func TestNoticeOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1, 0)
		f.down = true
		s := start(t, f, Config{})
		answer := make(chan error, 1)
		go func() { answer <- s.emit(t.Context(), notice("n0")) }()
		time.Sleep(30 * time.Second)
		select {
		case err := <-answer:
			t.Fatalf("answered during the outage: %v", err)
		default:
		}
		f.mu.Lock()
		f.down = false
		f.mu.Unlock()
		back := time.Now()
		if err := <-answer; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(back); took > 1100*time.Millisecond {
			t.Errorf("stored %v after the API server was back, want about a second at most", took)
		}
	})
}

// TestCordonsDoNotWait: hundreds of evictions that take long hold up no cordon.
func TestCordonsDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(20, 40)
		f.takes = 200 * time.Millisecond
		meter := &countingMeter{answers: make(map[drain.Reason]int)}
		s := start(t, f, Config{Concurrency: 8, Meter: meter})
		if err := s.emit(t.Context(), notice("n0")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for i := 1; i < 20; i++ {
			wg.Go(func() {
				if err := s.emit(t.Context(), notice(fmt.Sprintf("n%d", i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// Four at a time, 200 ms each: five rounds. Behind 40 evictions of n0 it
		// would be twice as long.
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("19 cordons took %v", took)
		}
		f.mu.Lock()
		most := f.most
		f.mu.Unlock()
		if most > 4 {
			t.Errorf("%d other requests at once, want at most 4", most)
		}
		if meter.answers[drain.NoticeReceived] != 20 {
			t.Errorf("answers: %v", meter.answers)
		}
	})
}

// TestStops returns from Run with an effect under way and a notice unanswered.
func TestStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(1, 1)
		f.takes = time.Hour
		s := start(t, f, Config{Timeout: 2 * time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan error, 1)
		go func() { answer <- s.emit(ctx, notice("n0")) }()
		synctest.Wait()
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Errorf("emit: %v", err)
		}
	})
}
