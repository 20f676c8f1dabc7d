package aws

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// link tells, once for all pollers, when the queue stops and starts to answer.
type link struct {
	log       *slog.Logger
	reachable func(bool)

	mu    sync.Mutex
	since time.Time // of the first failure; zero while the queue answers
}

func (l *link) down(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.since.IsZero() {
		return
	}
	l.since = time.Now()
	l.log.Warn("queue unreachable; polling goes on", "err", err)
	l.reachable(false)
}

func (l *link) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		return
	}
	l.log.Info("queue reachable again", "after", time.Since(l.since).Round(time.Millisecond))
	l.since = time.Time{}
	l.reachable(true)
}

// said remembers what has been logged. Its keys come from a fixed set.
type said struct {
	mu   sync.Mutex
	keys map[string]bool
}

// first reports whether key is new.
func (s *said) first(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys[key] {
		return false
	}
	if s.keys == nil {
		s.keys = make(map[string]bool)
	}
	s.keys[key] = true
	return true
}

// grow doubles d the given number of times, none if that is negative, up to most.
func grow(d time.Duration, doublings int, most time.Duration) time.Duration {
	for ; doublings > 0 && d < most; doublings-- {
		d *= 2
	}
	return min(d, most)
}

// jitter returns between half of d and d, so that readers of one queue do not
// come back in step.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}

// pause waits for d and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// seconds rounds up to what SQS counts in.
func seconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second)
}
