// Package load sends requests to a service the way its users do, and is the
// judge of which of them were lost and which were doubled.
//
// It decides when requests arrive (open loop: a Poisson process that does not
// wait for answers, so a stalled service gets no relief and hides nothing), over
// which connections they go, and what counts as a failure. Latency counts from
// the moment a request was due, not from when it could be sent.
//
// A client that repeats what failed hides losses, so this one never does. That
// is why it speaks HTTP/1.1 itself (client.go): net/http's Transport repeats
// requests that it thinks safe to repeat, without saying so. There is one
// exception, which every client with kept connections makes: a connection that
// the server had closed before a request was written to it is not used for it.
//
// It knows two requests: GET /v1/quote?symbol=X, or what a Profile names instead, and
// POST /v1/orders with a unique id, which the service echoes in its answer and records
// in its ledger (ledger.go). It knows nothing of Kubernetes, or of what happens to the service
// meanwhile.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what a Generator sends. Target and Rate must be set.
type Config struct {
	Target string  // base URL, http only, for example http://127.33.1.2:80
	Rate   float64 // mean arrivals per second; not used with a Profile

	// Profile says how the rate goes over the run, and what is asked. Nil is a
	// constant rate of quotes.
	Profile *Profile

	// PostShare is the part of requests that are POSTs; defaults to 0.3.
	// NewConnShare is the part that is sent on a connection of its own, which is
	// closed after the answer; defaults to 0.2. Negative means none.
	PostShare, NewConnShare float64

	// Timeout is how long a request may take from when it is sent, with
	// connecting. Defaults to 5 s.
	Timeout time.Duration

	// MaxInFlight bounds what is under way at once. A request that arrives
	// beyond it fails with cause "overload" and is not sent. Defaults to 4000.
	MaxInFlight int

	// KeepAliveConns is how many connections are kept open and used in turn, as
	// by that many clients. It is also the bound of the idle ones: when all are
	// in use, further ones are opened and closed after the answer. Defaults
	// to 64.
	KeepAliveConns int

	Seed  uint64 // of arrivals and of what they are
	RunID string // prefix of the ids of this run, unique in the ledger. Defaults to "run"
}

// withDefaults returns c with every field set.
func (c Config) withDefaults() Config {
	share := func(v, unset float64) float64 {
		if v == 0 {
			return unset
		}
		return max(v, 0)
	}
	c.PostShare = share(c.PostShare, 0.3)
	c.NewConnShare = share(c.NewConnShare, 0.2)
	if p := c.Profile; p != nil {
		if p.Posts != nil {
			c.PostShare = *p.Posts
		}
		if p.NewConns != nil {
			c.NewConnShare = *p.NewConns
		}
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = 4000
	}
	if c.KeepAliveConns == 0 {
		c.KeepAliveConns = 64
	}
	if c.RunID == "" {
		c.RunID = "run"
	}
	return c
}

// Generator sends one run of requests.
type Generator struct {
	cfg  Config
	dial dialFunc // nil for TCP to the target; tests set it

	sent, answered, failed atomic.Int64
	lag                    atomic.Int64 // nanoseconds, highest so far

	result *Result // written by Run, complete when it has returned
}

// New returns a Generator that sends nothing until it is run.
func New(c Config) *Generator { return &Generator{cfg: c.withDefaults()} }

// Counters say how far a run is. Sent is the sum of the others.
type Counters struct {
	Sent, Answered, Failed, InFlight int64
}

// Live returns the counters so far. It is cheap and may be called at any time.
// What was lost behind a successful answer only Reconcile finds.
func (g *Generator) Live() Counters {
	// In this order, what ends meanwhile counts as in flight, never twice.
	c := Counters{Answered: g.answered.Load(), Failed: g.failed.Load()}
	c.Sent = g.sent.Load()
	c.InFlight = c.Sent - c.Answered - c.Failed
	return c
}

// Result returns the records of the run. It may be called once Run has
// returned, and is nil before.
func (g *Generator) Result() *Result { return g.result }

// Run sends requests until ctx ends, then waits for those in flight, at most
// for Config.Timeout, and returns nil. It may be called once. An error means
// that the Config makes no sense; then nothing was sent.
func (g *Generator) Run(ctx context.Context) error {
	u, err := url.Parse(g.cfg.Target)
	if err != nil {
		return fmt.Errorf("reading the target of the load: %w", err)
	}
	if u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("reading the target of the load: %q is not an http URL with a host", g.cfg.Target)
	}
	if g.cfg.Rate <= 0 && g.cfg.Profile == nil {
		return fmt.Errorf("starting the load: a rate of %v requests per second is not positive", g.cfg.Rate)
	}
	cl := newClient(u, g.dial, g.cfg.KeepAliveConns)
	defer cl.close()

	start := time.Now()
	var log recorder
	var wg sync.WaitGroup
	next := newArrivals(g.cfg)
	for seq := 0; ; seq++ {
		a := next.arrival()
		if !sleepUntil(ctx, start.Add(a.at)) {
			break
		}
		rec := log.add()
		*rec = Record{Kind: a.kind, Start: a.at}
		sent := g.sent.Add(1)
		if sent-g.answered.Load()-g.failed.Load() > int64(g.cfg.MaxInFlight) {
			rec.Cause = Overload
			g.failed.Add(1)
			continue
		}
		wg.Go(func() { g.request(cl, start, rec, orderID(g.cfg.RunID, seq), a) })
	}
	wg.Wait()
	g.result = &Result{RunID: g.cfg.RunID, Started: start, Records: log.records(), Lag: time.Duration(g.lag.Load())}
	return nil
}

// request sends one request and fills in its record, which nobody else touches
// before Run has waited for it.
func (g *Generator) request(cl *client, start time.Time, rec *Record, id string, a arrival) {
	sent := time.Now()
	atomicMax(&g.lag, int64(sent.Sub(start)-a.at))

	req := request{kind: a.kind, path: a.path, ownConn: a.newConn}
	if a.kind == Post {
		req.path = "/v1/orders"
		req.body, _ = json.Marshal(order{id, a.symbol, a.quantity}) // cannot fail: strings and a number
	}
	ans, err := cl.do(req, sent.Add(g.cfg.Timeout))
	rec.Latency = time.Since(start) - a.at
	rec.Status, rec.Cause = judge(a.kind, id, ans, err)
	if rec.Cause == None {
		g.answered.Add(1)
	} else {
		g.failed.Add(1)
	}
}

type order struct {
	ID       string `json:"id"`
	Symbol   string `json:"symbol"`
	Quantity int    `json:"quantity"`
}

// orderID is the id of a run's seq-th request.
func orderID(runID string, seq int) string { return runID + "-" + strconv.Itoa(seq) }

// arrival is one request that is due, at an offset from the start of the run.
type arrival struct {
	at       time.Duration
	kind     Kind
	newConn  bool
	symbol   string
	path     string // of a GET
	quantity int
}

// arrivals draws the requests of a run. The same Config draws the same ones,
// whatever becomes of them.
type arrivals struct {
	cfg     Config
	rng     *rand.Rand
	symbols []string
	paths   []Path
	weights float64 // sum of those of paths
	at      time.Duration
}

func newArrivals(c Config) *arrivals {
	s := &arrivals{
		cfg:     c,
		rng:     rand.New(rand.NewPCG(c.Seed, 0)),
		symbols: strings.Fields("AAPL AMZN GOOG META MSFT NVDA ORCL TSLA"),
		paths:   quotes,
	}
	if p := c.Profile; p != nil {
		if len(p.Symbols) > 0 {
			s.symbols = p.Symbols
		}
		if len(p.Paths) > 0 {
			s.paths = p.Paths
		}
	}
	for _, p := range s.paths {
		s.weights += p.Weight
	}
	return s
}

// path draws what a GET asks for.
func (s *arrivals) path(symbol string) string {
	chosen := s.paths[len(s.paths)-1]
	if len(s.paths) > 1 { // one path draws nothing: such runs stay the same
		at := s.rng.Float64() * s.weights
		for _, p := range s.paths {
			if at -= p.Weight; at < 0 {
				chosen = p
				break
			}
		}
	}
	return strings.ReplaceAll(chosen.Path, "{symbol}", symbol)
}

func (s *arrivals) arrival() arrival {
	if gap := s.rng.ExpFloat64(); s.cfg.Profile != nil {
		s.at = s.cfg.Profile.after(s.at, gap)
	} else {
		s.at += time.Duration(gap / s.cfg.Rate * float64(time.Second))
	}
	a := arrival{
		at:       s.at,
		kind:     Get,
		newConn:  s.rng.Float64() < s.cfg.NewConnShare,
		symbol:   s.symbols[s.rng.IntN(len(s.symbols))],
		quantity: 1 + s.rng.IntN(1000),
	}
	if s.rng.Float64() < s.cfg.PostShare {
		a.kind = Post
	} else {
		a.path = s.path(a.symbol)
	}
	return a
}

// sleepUntil returns at t, or at once when t has passed; false when ctx ended.
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

func atomicMax(a *atomic.Int64, v int64) {
	for {
		old := a.Load()
		if v <= old || a.CompareAndSwap(old, v) {
			return
		}
	}
}
