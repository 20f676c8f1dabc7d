package lifecycle

import "time"

// Stats is a snapshot for metrics.
type Stats struct {
	Phase    Phase
	Ready    bool
	Trigger  Reason        // why the ending began; empty before
	Deadline time.Time     // zero before the ending
	Grace    time.Duration // from SIGTERM to SIGKILL, as configured

	// PhaseDuration is how long each phase has taken, or has taken so far.
	PhaseDuration [Cut + 1]time.Duration

	// Requests has an element for each protocol, in a fixed order.
	Requests []RequestStats

	IdleConnections int
	Streams         StreamStats
}

// RequestStats counts the requests of one protocol.
type RequestStats struct {
	Protocol string // http1, http2, grpc, websocket, hijacked or other
	InFlight int
	Finished int64 // handlers that have returned, connections that have been closed
	Cut      int64 // in flight when the process ended
}

// StreamStats counts streams (see Lifecycle.Stream) and WebSockets.
type StreamStats struct {
	Open       int
	Ended      int64 // by themselves
	HandedOver int64 // after they were told to end
	Cut        int64 // open when the process ended
}

// Stats returns what metrics show.
func (l *Lifecycle) Stats() Stats {
	at := time.Now()
	c, st := l.requests.counts(), l.streams.counts()
	_, idle := l.conns.count()
	l.mu.Lock()
	s, entered := l.state, l.entered
	l.mu.Unlock()

	out := Stats{
		Phase: s.phase, Ready: l.IsReady(), Trigger: s.trigger, Deadline: s.deadline, Grace: l.policy.grace,
		IdleConnections: idle,
		Streams:         StreamStats{Open: st.open, Ended: st.ended, HandedOver: st.handedOver},
	}
	for p := Serving; p <= s.phase; p++ {
		until := at
		if p < Cut && p < s.phase {
			until = entered[p+1]
		}
		out.PhaseDuration[p] = until.Sub(entered[p])
	}
	for p := range protocols {
		out.Requests = append(out.Requests, RequestStats{Protocol: p.String(), InFlight: c.inFlight[p], Finished: c.finished[p]})
	}
	if s.phase == Cut {
		for p := range out.Requests {
			out.Requests[p].Cut = int64(out.Requests[p].InFlight)
		}
		out.Streams.Cut = int64(st.open)
	}
	return out
}

// enter remembers when a phase began.
func (l *Lifecycle) enter(p Phase, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entered[p] = at
}
