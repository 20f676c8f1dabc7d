package kubelet

import (
	"cmp"
	"time"
)

// maxBackoffFactor is how far a restart back-off grows: a kubelet's 10 s become
// 300 s.
const maxBackoffFactor = 30

// backoff says how long one container's next restart waits. The rule is the
// kubelet's: the first restart is immediate, the next waits base, and each one
// after that twice as long as the one before, up to 30 times base. A run of twice
// the longest wait, or of what forgive says instead, forgives what was before it.
type backoff struct {
	base    time.Duration
	forgive time.Duration
	next    time.Duration // zero: not backing off
}

// after returns the wait that follows a run of the given length.
func (b *backoff) after(ran time.Duration) time.Duration {
	limit := maxBackoffFactor * b.base
	if ran >= cmp.Or(b.forgive, 2*limit) {
		b.next = 0
	}
	wait := b.next
	b.next = min(max(2*wait, b.base), limit)
	return wait
}
