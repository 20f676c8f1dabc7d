package conform

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// maxInFlight bounds what is under way at once; beyond it requests are not sent,
// and the run is not valid.
const maxInFlight = 8000

// request makes one. Without a source of randomness it is the plainest of its kind.
func (s *stage) request(seq int, k kind, rng *rand.Rand) request {
	r := request{seq: seq, kind: k, path: s.cfg.Get, id: requestID(s.index, seq)}
	if k != get {
		r.path = s.cfg.Post
		r.body = strings.ReplaceAll(s.cfg.Body, "{id}", r.id)
	}
	if rng != nil {
		r.ownConn = rng.Float64() < s.cfg.NewConnShare
		if k == post && rng.Float64() < s.cfg.SlowShare {
			r.kind, r.pause = slowPost, time.Duration(50+rng.IntN(450))*time.Millisecond
		}
	}
	return r
}

// load sends requests as a Poisson process until ctx ends, then waits for those in
// flight. It does not wait for answers in between: a stalled copy gets no relief.
func (s *stage) load(ctx context.Context, cl client) {
	rng := rand.New(rand.NewPCG(s.cfg.Seed+uint64(s.index), 7))
	background := context.WithoutCancel(ctx)
	room := make(chan struct{}, maxInFlight)
	var wg sync.WaitGroup
	defer wg.Wait()
	due := time.Now()
	for seq := 0; ; seq++ {
		due = due.Add(time.Duration(rng.ExpFloat64() / s.sc.rate * float64(time.Second)))
		if !sleepUntil(ctx, due) {
			return
		}
		k := get
		if rng.Float64() < s.cfg.PostShare {
			k = post
		}
		r := s.request(seq, k, rng)
		select {
		case room <- struct{}{}:
		default:
			s.overload++
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			ctx, cancel := context.WithTimeout(background, s.cfg.Timeout)
			defer cancel()
			sent := time.Now()
			a, err := cl.do(ctx, r)
			s.records.add(record{
				seq: r.seq, kind: r.kind, ownConn: r.ownConn,
				process: a.process, sent: sent, took: time.Since(sent), cause: causeOf(a, err),
			})
		})
	}
}

// sleepUntil returns at t; false when ctx ended before.
func sleepUntil(ctx context.Context, t time.Time) bool {
	if d := time.Until(t); d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
	return ctx.Err() == nil
}
