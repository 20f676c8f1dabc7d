package serviceproxy

import (
	"math/rand/v2"
	"slices"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// sliceChange is the new state of one EndpointSlice; a nil slice is a deletion.
type sliceChange struct {
	key   string // namespace/name of the EndpointSlice
	slice *discoveryv1.EndpointSlice
}

// delayQueue holds changes back as the way from the endpoint controller to the
// packet filter of a node does: each takes its own time, but two changes of one
// slice never overtake each other, since every watcher sees them in order.
//
// It knows no clock: times come in with the calls.
type delayQueue struct {
	delay, jitter time.Duration
	rng           *rand.Rand
	held          []heldChange // by due time; of equals, the earlier push first
}

type heldChange struct {
	sliceChange
	due time.Time
}

// push holds c back until now + delay ± jitter, or longer when an earlier
// change of the same slice is held longer.
func (q *delayQueue) push(now time.Time, c sliceChange) {
	d := q.delay + time.Duration((2*q.rng.Float64()-1)*float64(q.jitter))
	due := now.Add(max(d, 0))
	for _, h := range q.held {
		if h.key == c.key && h.due.After(due) {
			due = h.due
		}
	}
	at, _ := slices.BinarySearchFunc(q.held, due, func(h heldChange, due time.Time) int {
		if h.due.After(due) {
			return 1
		}
		return -1 // equals stay before the new one
	})
	q.held = slices.Insert(q.held, at, heldChange{c, due})
}

// pop removes and returns the changes that are due, in the order in which they
// take effect.
func (q *delayQueue) pop(now time.Time) []sliceChange {
	n := 0
	for n < len(q.held) && !q.held[n].due.After(now) {
		n++
	}
	due := make([]sliceChange, n)
	for i, h := range q.held[:n] {
		due[i] = h.sliceChange
	}
	q.held = slices.Delete(q.held, 0, n)
	return due
}

// next returns when the first change held is due; false when none is held.
func (q *delayQueue) next() (time.Time, bool) {
	if len(q.held) == 0 {
		return time.Time{}, false
	}
	return q.held[0].due, true
}
