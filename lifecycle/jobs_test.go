package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestStoppable(t *testing.T) {
	jobs := []job{
		{name: "sink", after: []string{"pool"}},
		{name: "pool"},
		{name: "reader", consumer: true},
	}
	for _, tt := range []struct {
		name     string
		ended    []bool
		phase    Phase
		requests int
		force    bool
		want     []int
	}{
		{"serving", []bool{false, false, false}, Noticed, 0, false, nil},
		{"consumers at once", []bool{false, false, false}, Unready, 3, false, []int{2}},
		{"a consumer is not over", []bool{false, false, false}, Finish, 0, false, []int{2}},
		{"too early for the pool", []bool{false, false, true}, Propagate, 0, false, nil},
		{"requests may still feed the pool", []bool{false, false, true}, Finish, 1, false, nil},
		{"the pool", []bool{false, false, true}, Finish, 0, false, []int{1}},
		{"the sink", []bool{false, true, true}, Finish, 0, false, []int{0}},
		{"out of time", []bool{false, false, false}, Finish, 9, true, []int{0, 1, 2}},
		{"all over", []bool{true, true, true}, Save, 0, true, nil},
	} {
		if got := stoppable(jobs, tt.ended, tt.phase, tt.requests, tt.force); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestCheckJobs(t *testing.T) {
	for _, tt := range []struct {
		jobs []job
		want string
	}{
		{nil, ""},
		{[]job{{name: "a", after: []string{"b", "c"}}, {name: "b", after: []string{"c"}}, {name: "c"}}, ""},
		{[]job{{name: "a"}, {name: "a"}}, `two jobs are named "a"`},
		{[]job{{name: "a", after: []string{"z"}}}, "does not exist"},
		{[]job{{name: "a", after: []string{"a"}}}, "after itself"},
		{[]job{{name: "a", after: []string{"b"}}, {name: "b", after: []string{"a"}}}, "after itself"},
	} {
		err := checkJobs(tt.jobs)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.jobs, err, tt.want)
		}
	}
	if err := New(Options{}).Job("a", nil, "z").Run(t.Context()); err == nil {
		t.Error("Run accepts jobs that it cannot order")
	}
}

// What a consumer has read goes through the pool to the sink, and nothing is left
// on the way: each ends only when the one before it has.
func TestJobsEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Grace: 30 * time.Second, TerminationLog: "none"})
		work, results := make(chan int, 100), make(chan int, 100)
		var mu sync.Mutex
		var order []string
		ended := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
		}
		read, sunk := 0, 0
		l.Consumer("reader", func(ctx context.Context) error {
			defer ended("reader")
			for ctx.Err() == nil {
				read++
				work <- read
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Second) // commits, leaves the group
			return ctx.Err()
		})
		pool := func(in <-chan int, out func(int)) func(context.Context) error {
			return func(ctx context.Context) error {
				for {
					select {
					case n := <-in:
						time.Sleep(20 * time.Millisecond)
						out(n)
					case <-ctx.Done():
						for len(in) > 0 {
							out(<-in)
						}
						return nil
					}
				}
			}
		}
		l.Job("sink", func(ctx context.Context) error {
			defer ended("sink")
			return pool(results, func(int) { sunk++ })(ctx)
		}, "pool")
		l.Job("pool", func(ctx context.Context) error {
			defer ended("pool")
			return pool(work, func(n int) { results <- n })(ctx)
		})
		_, done := start(t.Context(), l)
		go serveOne(l, func(http.ResponseWriter, *http.Request) {
			time.Sleep(8 * time.Second)
			ended("request")
		})
		time.Sleep(200 * time.Millisecond)
		l.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if want := []string{"reader", "request", "pool", "sink"}; !slices.Equal(order, want) {
			t.Errorf("ended in the order %v, want %v", order, want)
		}
		if read == 0 || sunk != read {
			t.Errorf("%d read, %d in the sink", read, sunk)
		}
	})
}

func TestJobsThatMisbehave(t *testing.T) {
	for _, tt := range []struct {
		name string
		job  func(ctx context.Context, release <-chan struct{}) error
		want string
	}{
		{"fails", func(context.Context, <-chan struct{}) error { return errors.New("broker gone") }, "running j: broker gone"},
		{"panics", func(context.Context, <-chan struct{}) error { panic("boom") }, "running j: panic: boom"},
		{"hangs", func(_ context.Context, release <-chan struct{}) error { <-release; return nil }, "running j: not finished in time"},
		{"gives up when told", func(ctx context.Context, _ <-chan struct{}) error { <-ctx.Done(); return ctx.Err() }, ""},
	} {
		for _, kind := range []string{"consumer", "job"} {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := New(Options{Grace: 10 * time.Second, TerminationLog: "none"})
					release := make(chan struct{})
					defer close(release)
					f := func(ctx context.Context) error { return tt.job(ctx, release) }
					if kind == "consumer" {
						l.Consumer("j", f)
					} else {
						l.Job("j", f)
					}
					sinkTold := false
					l.Job("sink", func(ctx context.Context) error {
						<-ctx.Done()
						sinkTold = l.Phase() <= Finish
						return nil
					}, "j")
					_, done := start(t.Context(), l)
					begun := time.Now()
					l.Drain()
					err := <-done
					if took := time.Since(begun); took >= 10*time.Second {
						t.Errorf("took %s", took)
					}
					if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
						t.Errorf("error %v, want %q", err, tt.want)
					}
					if !sinkTold {
						t.Error("the sink was not told in time")
					}
				})
			})
		}
	}
}

// Work that honours WorkContext learns in time that it will not be finished.
func TestWorkContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{Grace: 10 * time.Second, TerminationLog: "none"})
		begun := time.Now()
		var at time.Duration
		l.Consumer("batch", func(context.Context) error {
			<-l.WorkContext().Done()
			at = time.Since(begun)
			return nil
		})
		_, done := start(t.Context(), l)
		l.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if at != 9*time.Second || !errors.Is(context.Cause(l.WorkContext()), ErrCut) {
			t.Errorf("ended after %s: %v", at, context.Cause(l.WorkContext()))
		}
	})
}
