package controller

import "time"

// From the beginning of a Step to that of the next some times as long passes as the
// Step took, so that Steps take only a part of a processor unless they are long. In a small
// cluster that is nothing; with hundreds of nodes that go at once, each with its
// watch events, most Steps would find one thing to do and look at everything for it.
const (
	resting     = 20
	longestRest = 100 * time.Millisecond
)

// pace keeps when the next Step may be. Before that only a notice is worth one.
type pace struct{ next time.Time }

// stepped notes a Step. One that took longer than the longest rest is followed by none:
// what it found late must not come later still.
func (p *pace) stepped(began time.Time, took time.Duration) {
	p.next = began.Add(min(resting*took, longestRest))
}

// left is how long to wait yet; not positive if there is nothing to wait for.
func (p *pace) left(now time.Time) time.Duration { return p.next.Sub(now) }
