// Package limit holds clients to a rate: a bucket of tokens for each.
package limit

import (
	"container/list"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A Decision says whether a request may pass, and what its client is told.
type Decision struct {
	Allowed   bool
	Limit     int           // requests at once
	Remaining int           // of these, now
	Reset     time.Duration // until all of them are there again
	Retry     time.Duration // until there is one, if there is none
}

// Limits keeps the buckets of the clients that asked last. It is safe for
// concurrent use.
type Limits struct {
	rate  float64
	burst int
	most  int

	mu      sync.Mutex
	buckets map[string]*list.Element // of *bucket
	used    *list.List               // the one that was used last in front
}

type bucket struct {
	client  string
	limiter *rate.Limiter
}

// New returns buckets with so many requests per second, and so many at once, for
// clients that have no numbers of their own. At most so many buckets are kept; a
// client that is forgotten begins with a full one.
func New(perSecond float64, burst, most int) *Limits {
	return &Limits{rate: perSecond, burst: burst, most: most, buckets: make(map[string]*list.Element), used: list.New()}
}

// Take takes a token of a client at a time. perSecond and burst are the client's
// own, or 0.
func (l *Limits) Take(client string, perSecond float64, burst int, now time.Time) Decision {
	if perSecond <= 0 {
		perSecond = l.rate
	}
	if burst <= 0 {
		burst = l.burst
	}
	limiter := l.limiter(client, perSecond, burst, now)
	d := Decision{Allowed: limiter.AllowN(now, 1), Limit: burst}
	tokens := limiter.TokensAt(now)
	d.Remaining = max(0, int(tokens))
	d.Reset = seconds((float64(burst) - tokens) / perSecond)
	if !d.Allowed {
		d.Retry = seconds((1 - tokens) / perSecond)
	}
	return d
}

func (l *Limits) limiter(client string, perSecond float64, burst int, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.buckets[client]; ok {
		l.used.MoveToFront(e)
		b := e.Value.(*bucket)
		if b.limiter.Limit() != rate.Limit(perSecond) || b.limiter.Burst() != burst { // the file of keys changed
			b.limiter.SetLimitAt(now, rate.Limit(perSecond))
			b.limiter.SetBurstAt(now, burst)
		}
		return b.limiter
	}
	b := &bucket{client, rate.NewLimiter(rate.Limit(perSecond), burst)}
	l.buckets[client] = l.used.PushFront(b)
	if l.used.Len() > l.most {
		delete(l.buckets, l.used.Remove(l.used.Back()).(*bucket).client)
	}
	return b.limiter
}

func seconds(s float64) time.Duration {
	return time.Duration(min(max(0, s), 1e6) * float64(time.Second))
}

// Header writes what a client is told: RateLimit-Limit, RateLimit-Remaining and
// RateLimit-Reset in whole seconds, as in the IETF's draft of these fields, and
// Retry-After if the request did not pass.
func (d Decision) Header(h http.Header) {
	h.Set("RateLimit-Limit", strconv.Itoa(d.Limit))
	h.Set("RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("RateLimit-Reset", whole(d.Reset))
	if !d.Allowed {
		h.Set("Retry-After", whole(max(d.Retry, time.Second)))
	}
}

func whole(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }
