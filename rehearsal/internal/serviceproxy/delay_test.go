package serviceproxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
)

func TestDelayBounds(t *testing.T) {
	const delay, jitter = time.Second, 300 * time.Millisecond
	q := delayQueue{delay: delay, jitter: jitter, rng: rand.New(rand.NewPCG(1, 1))}
	t0 := time.Unix(1000, 0)
	const n = 1000
	for i := range n {
		q.push(t0, sliceChange{key: fmt.Sprint(i)})
	}
	if due := q.pop(t0.Add(delay - jitter - 1)); len(due) != 0 {
		t.Errorf("%d changes took effect before delay-jitter", len(due))
	}
	half := len(q.pop(t0.Add(delay)))
	if half < n*4/10 || half > n*6/10 {
		t.Errorf("%d of %d changes took effect within the delay without jitter, want about half", half, n)
	}
	rest := len(q.pop(t0.Add(delay + jitter)))
	if half+rest != n {
		t.Errorf("%d of %d changes still held after delay+jitter", n-half-rest, n)
	}
	if _, held := q.next(); held {
		t.Error("next reports a change in an empty queue")
	}
}

func TestDelayNeverNegative(t *testing.T) {
	q := delayQueue{delay: 0, jitter: time.Hour, rng: rand.New(rand.NewPCG(1, 1))}
	t0 := time.Unix(1000, 0)
	for i := range 100 {
		q.push(t0, sliceChange{key: fmt.Sprint(i)})
	}
	if next, _ := q.next(); next.Before(t0) {
		t.Errorf("a change is due %v before it was made", t0.Sub(next))
	}
}

// Whatever the jitter, changes of one slice never overtake each other, and
// changes of different slices sometimes do.
func TestDelayKeepsOrderPerSlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	q := delayQueue{delay: time.Second, jitter: time.Second, rng: rng}
	now := time.Unix(1000, 0)
	last := make(map[string]int64) // highest generation that took effect, by slice
	overtakes, newest := 0, int64(0)
	take := func(cs []sliceChange) {
		for _, c := range cs {
			g := c.slice.Generation
			if g < last[c.key] {
				t.Errorf("slice %s: change %d took effect after %d", c.key, g, last[c.key])
			}
			if g < newest {
				overtakes++
			}
			last[c.key], newest = g, max(g, newest)
		}
	}
	for g := range int64(500) {
		now = now.Add(time.Duration(rng.Int64N(int64(50 * time.Millisecond))))
		c := sliceChange{key: fmt.Sprint(rng.IntN(3)), slice: new(discoveryv1.EndpointSlice)}
		c.slice.Generation = g
		q.push(now, c)
		if !slices.IsSortedFunc(q.held, func(a, b heldChange) int { return a.due.Compare(b.due) }) {
			t.Fatal("the queue is not sorted by due time")
		}
		take(q.pop(now))
	}
	take(q.pop(now.Add(time.Minute)))
	if len(q.held) != 0 {
		t.Errorf("%d changes never took effect", len(q.held))
	}
	if overtakes == 0 {
		t.Error("no change overtook one of another slice: the jitter has no effect")
	}
}
