package lifecycle

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// connections counts the open connections by state. A request is over for its
// client when the connection leaves StateActive; its handler returns before that,
// while part of the answer may still be in a buffer.
type connections struct {
	states       sync.Map // net.Conn -> *atomic.Int32, an http.ConnState
	open, active atomic.Int64
}

func (c *connections) set(conn net.Conn, to http.ConnState) {
	v, known := c.states.Load(conn)
	if !known {
		if to != http.StateNew {
			return // unreachable: net/http reports every connection as new first
		}
		c.states.Store(conn, new(atomic.Int32))
		c.open.Add(1)
		return
	}
	from := http.ConnState(v.(*atomic.Int32).Swap(int32(to)))
	if to == http.StateActive && from != http.StateActive {
		c.active.Add(1)
	}
	if to != http.StateActive && from == http.StateActive {
		c.active.Add(-1)
	}
	if to == http.StateClosed || to == http.StateHijacked {
		c.states.Delete(conn)
		c.open.Add(-1)
	}
}

// count returns how many connections have a request and how many have none. New
// connections belong to the latter: clients open some in reserve.
func (c *connections) count() (active, idle int) {
	a := int(c.active.Load())
	return a, max(0, int(c.open.Load())-a)
}

// arrivals says when traffic last came and how dense it usually is. The number
// of requests so far comes from inFlight.
type arrivals struct {
	epoch  time.Time    // set once
	opened atomic.Int64 // when the last connection came, in nanoseconds after epoch; 0 = none

	// Owned by the loop of Run, which samples once a second.
	samples [60]sample
	next    int
}

type sample struct {
	at    time.Time
	total int64 // requests
}

// connection does not count towards the rate: one connection carries many
// requests, and a rate that is too high makes the quiet window too short.
func (a *arrivals) connection(at time.Time) { a.opened.Store(max(1, int64(at.Sub(a.epoch)))) }

// last returns when a request or a connection last came; zero if none did.
func (a *arrivals) last(request time.Time) time.Time {
	if n := a.opened.Load(); n != 0 {
		if t := a.epoch.Add(time.Duration(n)); t.After(request) {
			return t
		}
	}
	return request
}

// sample remembers the total, at most once a second.
func (a *arrivals) sample(at time.Time, total int64) {
	latest := a.samples[(a.next+len(a.samples)-1)%len(a.samples)]
	if !latest.at.IsZero() && at.Sub(latest.at) < time.Second {
		return
	}
	a.samples[a.next] = sample{at, total}
	a.next = (a.next + 1) % len(a.samples)
}

// meanGap returns the mean time between the requests of the last minute, or as
// much of it as there is. If there were none in that time, but some before, one
// is expected any moment: it is that time. It is 0 if there has never been any.
func (a *arrivals) meanGap(at time.Time, total int64) time.Duration {
	oldest := a.samples[a.next]
	if oldest.at.IsZero() { // the ring is not full yet
		oldest = a.samples[0]
	}
	if oldest.at.IsZero() || total == 0 {
		return 0
	}
	return at.Sub(oldest.at) / time.Duration(max(1, total-oldest.total))
}
