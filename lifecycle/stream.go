package lifecycle

import (
	"context"
	"sync"
	"time"
)

// Stream marks a request as one that has no end of its own: server-sent events,
// a watch, a long poll. It returns a context that ends with the given one, or
// with ErrDraining as its cause when it is this stream's turn to end:
//
//	ctx, done := l.Stream(r.Context())
//	defer done()
//	for {
//		select {
//		case event := <-events:
//			...
//		case <-ctx.Done():
//			if context.Cause(ctx) == lifecycle.ErrDraining {
//				... // tell the client from where to resume
//			}
//			return
//		}
//	}
//
// Turns come in the discourage phase, when balancers send nobody here any more,
// and they are spread over it: clients that all came back at the same moment would
// be a burst for those who stay. A stream that is opened later ends at once. The
// caller calls done when the stream is over.
func (l *Lifecycle) Stream(ctx context.Context) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := l.streams.add(func() { cancel(ErrDraining) })
	return ctx, func() {
		l.streams.remove(s)
		cancel(context.Canceled)
	}
}

// stream is one registered stream.
type stream struct {
	end            func() // must not block; called at most once
	told, gone     bool
	previous, next *stream // of those that are not told
}

// streams are told to end in the order in which they came.
type streams struct {
	mu          sync.Mutex
	first, last *stream // not told yet
	untold      int
	open        int // told or not
	told        int
	handedOver  int64 // ended after they were told
	ended       int64 // ended by themselves
	all         bool  // everybody is told at once from now on
}

func (s *streams) add(end func()) *stream {
	x := &stream{end: end}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	if s.all {
		s.told++
		x.told = true
		end()
		return x
	}
	x.previous = s.last
	if s.last != nil {
		s.last.next = x
	} else {
		s.first = x
	}
	s.last = x
	s.untold++
	return x
}

// remove is called when the stream is over; calls after the first do nothing.
func (s *streams) remove(x *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.gone {
		return
	}
	x.gone = true
	s.open--
	if x.told {
		s.handedOver++
		return
	}
	s.ended++
	s.unlink(x)
}

// unlink takes x out of the list of those that are not told.
func (s *streams) unlink(x *stream) {
	if x.previous != nil {
		x.previous.next = x.next
	} else {
		s.first = x.next
	}
	if x.next != nil {
		x.next.previous = x.previous
	} else {
		s.last = x.previous
	}
	x.previous, x.next = nil, nil
	s.untold--
}

// tell tells streams to end until so many have been told altogether.
func (s *streams) tell(total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.first != nil && s.told < total {
		x := s.first
		s.unlink(x)
		x.told = true
		s.told++
		x.end()
	}
}

// tellAll tells everybody, and those who come later.
func (s *streams) tellAll() {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	s.tell(int(^uint(0) >> 1))
}

// streamCounts is a snapshot.
type streamCounts struct {
	open, untold, told int
	handedOver, ended  int64
}

func (s *streams) counts() streamCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return streamCounts{s.open, s.untold, s.told, s.handedOver, s.ended}
}

const (
	// leastTellRate is per second. Below it spreading helps nobody and only costs
	// time.
	leastTellRate = 200
	// tellShare is the part of the discourage phase in which all streams are told;
	// the rest is for the last ones to leave.
	tellShare = 80 // percent
)

// turns returns how many of total streams should have been told after so much of
// a phase.
func turns(total int, elapsed, phase time.Duration) int {
	window := phase / 100 * tellShare
	if elapsed >= window {
		return total
	}
	even := int(float64(total) * float64(elapsed) / float64(window))
	return min(total, max(even, int(elapsed.Seconds()*leastTellRate)+1))
}
