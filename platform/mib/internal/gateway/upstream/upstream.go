// Package upstream asks a service behind the gateway: with retries within a budget,
// a circuit breaker, a bulkhead and a timeout; a share of requests to a canary that
// loses it when it fails; and copies of a share to a shadow whose answers are only
// compared.
package upstream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/budget"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/failsafe-go/failsafe-go/timeout"
	"google.golang.org/protobuf/proto"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

// Options says how a service is asked. Zero fields have the values given.
type Options struct {
	Name string // in errors and metrics

	Timeout  time.Duration // of one attempt; 2 s
	Retries  int           // after the first attempt; 2, none if negative
	Backoff  time.Duration // before the first retry, doubling, with jitter; 20 ms
	Budget   float64       // share of requests under way that may be retries, above three; 0.2
	Parallel int           // requests at once; 256
	Queue    time.Duration // how long one waits for its turn; 50 ms

	BreakerRate  float64       // share of failures in BreakerOver at which nothing is sent any more; 0.5
	BreakerLeast int           // requests before that is judged; 20
	BreakerOver  time.Duration // 10 s
	BreakerDelay time.Duration // until one is tried again; 1 s

	Canary CanaryOptions

	Shadow        float64       // share of requests that are copied
	ShadowAtOnce  int           // copies under way; others are dropped; 16
	ShadowTimeout time.Duration // 2 s

	// Observer is told what happens. It must not block.
	Observer Observer

	random func() float64 // in tests
}

func (o Options) defaults() Options {
	def(&o.Timeout, 2*time.Second)
	def(&o.Retries, 2)
	def(&o.Backoff, 20*time.Millisecond)
	def(&o.Budget, 0.2)
	def(&o.Parallel, 256)
	def(&o.Queue, 50*time.Millisecond)
	def(&o.BreakerRate, 0.5)
	def(&o.BreakerLeast, 20)
	def(&o.BreakerOver, 10*time.Second)
	def(&o.BreakerDelay, time.Second)
	def(&o.ShadowAtOnce, 16)
	def(&o.ShadowTimeout, 2*time.Second)
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	if o.random == nil {
		o.random = rand.Float64
	}
	return o
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// An Observer is told what happens. Target is stable or canary, code what
// connect.Code is called, or ok.
type Observer interface {
	Attempt(upstream, target, code string, took time.Duration)
	Retry(upstream string)
	Breaker(upstream, state string)
	Weight(upstream string, weight float64)
	// Shadowed is same, different (answers), status (one failed, the other did not),
	// or dropped (there were too many under way). slower is by how much the shadow was.
	Shadowed(upstream, result string, slower time.Duration)
}

type nobody struct{}

func (nobody) Attempt(string, string, string, time.Duration) {}
func (nobody) Retry(string)                                  {}
func (nobody) Breaker(string, string)                        {}
func (nobody) Weight(string, float64)                        {}
func (nobody) Shadowed(string, string, time.Duration)        {}

// An Upstream is a service with client C. It is safe for concurrent use.
type Upstream[C any] struct {
	o              Options
	stable         C
	canary, shadow *C
	policies       []failsafe.Policy[any]

	mu    sync.Mutex
	state CanaryState

	shadows atomic.Int64
	wait    sync.WaitGroup
}

// New returns an upstream. canary and shadow may be nil.
func New[C any](o Options, stable C, canary, shadow *C) *Upstream[C] {
	o = o.defaults()
	u := &Upstream[C]{o: o, stable: stable, canary: canary, shadow: shadow}
	failed := func(_ any, err error) bool { return failure(err) }
	breaker := circuitbreaker.NewBuilder[any]().HandleIf(failed).
		WithFailureRateThreshold(o.BreakerRate, uint(o.BreakerLeast), o.BreakerOver).
		WithDelay(o.BreakerDelay).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) { o.Observer.Breaker(o.Name, e.NewState.String()) }).
		Build()
	// Outermost first: every attempt passes the breaker and waits for its turn.
	if o.Retries > 0 {
		u.policies = append(u.policies, retrypolicy.NewBuilder[any]().
			HandleIf(func(_ any, err error) bool { return again(err) }).
			WithMaxRetries(o.Retries).
			WithBackoff(o.Backoff, max(10*o.Backoff, o.Backoff+1)).
			WithJitterFactor(0.5).
			WithBudget(budget.NewBuilder().WithMaxRate(o.Budget).Build()).
			OnRetry(func(failsafe.ExecutionEvent[any]) { o.Observer.Retry(o.Name) }).
			ReturnLastFailure().
			Build())
	}
	u.policies = append(u.policies,
		breaker,
		bulkhead.NewBuilder[any](uint(o.Parallel)).WithMaxWaitTime(o.Queue).Build(),
		timeout.New[any](o.Timeout),
	)
	if canary != nil {
		o.Observer.Weight(o.Name, o.Canary.Weight)
	}
	return u
}

// Stable returns the client of the stable version, for streams: these are resumed,
// not sent again.
func (u *Upstream[C]) Stable() C { return u.stable }

// Wait waits for copies that are under way.
func (u *Upstream[C]) Wait() { u.wait.Wait() }

// Call asks by one of the client's methods. It may be asked several times, so the
// method must have no effects, or the same ones again. Errors are of package
// problem.
func Call[C, Q, A any](ctx context.Context, u *Upstream[C], method func(C, context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*A, error) {
	first := u.choose()
	attempts := 0
	var last error
	begun := time.Now()
	got, err := failsafe.With(u.policies...).WithContext(ctx).GetWithExecution(func(e failsafe.Execution[any]) (any, error) {
		client, target := u.stable, "stable"
		// What failed at the canary is asked of the stable version.
		isCanary := first && attempts == 0
		attempts++
		if isCanary {
			client, target = *u.canary, "canary"
		}
		sent := time.Now()
		resp, err := method(client, e.Context(), connect.NewRequest(q))
		if ctx.Err() == nil {
			u.outcome(Outcome{time.Now(), isCanary, failure(err)})
		}
		u.o.Observer.Attempt(u.o.Name, target, codeOf(err), time.Since(sent))
		if err != nil {
			last = err
			return nil, err
		}
		return resp.Msg, nil
	})
	var answer *A
	if err == nil {
		answer = got.(*A)
	} else if errors.Is(err, budget.ErrExceeded) && last != nil {
		err = last
	}
	u.copy(ctx, time.Since(begun), answer, err, func(ctx context.Context) (any, error) {
		resp, err := method(*u.shadow, ctx, connect.NewRequest(q))
		if err != nil {
			return nil, err
		}
		return resp.Msg, nil
	})
	if err != nil {
		return nil, u.Problem(ctx, err)
	}
	return answer, nil
}

func (u *Upstream[C]) choose() bool {
	if u.canary == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	w := u.state.Weight(u.o.Canary)
	return w > 0 && u.o.random() < w
}

func (u *Upstream[C]) outcome(o Outcome) {
	if u.canary == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var back bool
	if u.state, back = u.state.Step(u.o.Canary, o); back {
		u.o.Observer.Weight(u.o.Name, 0)
	}
}

// copy asks the shadow, too, if it is its turn, and compares. Nobody waits for it.
func (u *Upstream[C]) copy(ctx context.Context, took time.Duration, answer any, err error, ask func(context.Context) (any, error)) {
	if u.shadow == nil || u.o.Shadow <= 0 || u.o.random() >= u.o.Shadow {
		return
	}
	if u.shadows.Add(1) > int64(u.o.ShadowAtOnce) {
		u.shadows.Add(-1)
		u.o.Observer.Shadowed(u.o.Name, "dropped", 0)
		return
	}
	ctx = context.WithoutCancel(ctx)
	u.wait.Go(func() {
		defer u.shadows.Add(-1)
		ctx, cancel := context.WithTimeout(ctx, u.o.ShadowTimeout)
		defer cancel()
		begun := time.Now()
		other, otherErr := ask(ctx)
		slower := time.Since(begun) - took
		result := "same"
		switch {
		case codeOf(err) != codeOf(otherErr):
			result = "status"
		case err == nil && hash(answer) != hash(other):
			result = "different"
		}
		u.o.Observer.Shadowed(u.o.Name, result, slower)
	})
}

// hash is that of the message in the form in which maps are sorted.
func hash(m any) [sha256.Size]byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.(proto.Message))
	if err != nil {
		return [sha256.Size]byte{} // unreachable: it came over the wire
	}
	return sha256.Sum256(b)
}

// again reports whether another attempt may succeed: the service said that it is not
// available, or it said nothing at all.
func again(err error) bool {
	if err == nil || errors.Is(err, circuitbreaker.ErrOpen) || errors.Is(err, bulkhead.ErrFull) {
		return false
	}
	if errors.Is(err, timeout.ErrExceeded) {
		return true
	}
	switch code := connect.CodeOf(err); {
	case code == connect.CodeCanceled:
		return false
	case code == connect.CodeUnavailable:
		return true
	default:
		return !connect.IsWireError(err)
	}
}

// failure reports whether it is the service that is to blame, not the request.
func failure(err error) bool {
	if again(err) {
		return true
	}
	if err == nil || errors.Is(err, circuitbreaker.ErrOpen) || errors.Is(err, bulkhead.ErrFull) {
		return false
	}
	switch connect.CodeOf(err) {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeDataLoss, connect.CodeUnimplemented, connect.CodeDeadlineExceeded:
		return true
	}
	return false
}

func codeOf(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, timeout.ErrExceeded):
		return connect.CodeDeadlineExceeded.String()
	}
	return connect.CodeOf(err).String()
}

// Problem says to a client what went wrong. What a service said about a request is
// passed on; what it said about itself is not.
func (u *Upstream[C]) Problem(ctx context.Context, err error) error {
	var known *problem.Error
	if errors.As(err, &known) {
		return known
	}
	if ctx.Err() != nil {
		e, _ := problem.Of(ctx.Err())
		return e
	}
	var c *connect.Error
	if errors.As(err, &c) && connect.IsWireError(err) {
		e := &problem.Error{Code: c.Code()}
		for _, d := range c.Details() {
			if v, err := d.Value(); err == nil {
				if p, ok := v.(*mibv1.Problem); ok {
					e.Problems = append(e.Problems, p)
				}
			}
		}
		if len(e.Problems) > 0 {
			return e
		}
	}
	switch {
	case errors.Is(err, timeout.ErrExceeded) || connect.CodeOf(err) == connect.CodeDeadlineExceeded:
		return problem.New(connect.CodeDeadlineExceeded, problem.TimedOut, "", "the "+u.o.Name+" took too long")
	case errors.Is(err, bulkhead.ErrFull):
		return problem.New(connect.CodeUnavailable, "upstream_busy", "", "the "+u.o.Name+" has as much to do as it can; try again later")
	default:
		return problem.New(connect.CodeUnavailable, "upstream_unavailable", "", "the "+u.o.Name+" does not answer; try again later")
	}
}

// HTTPClient returns a client for a service that speaks HTTP/2: over TLS with the
// given configuration, or in plain text if that is nil. Requests go over several
// connections in turn: one alone would pin all of them to one replica behind a
// balancer of connections, and an attempt after a failed one would meet the same
// replica again.
func HTTPClient(tlsConfig *tls.Config, connections int) *http.Client {
	p := &pool{}
	for range max(1, connections) {
		t := &http.Transport{
			TLSClientConfig:     tlsConfig,
			Protocols:           new(http.Protocols),
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: 2 * time.Second,
			HTTP2:               &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 2 * time.Second},
		}
		if tlsConfig != nil {
			t.Protocols.SetHTTP2(true)
		} else {
			t.Protocols.SetUnencryptedHTTP2(true)
		}
		p.transports = append(p.transports, t)
	}
	return &http.Client{Transport: p}
}

type pool struct {
	transports []*http.Transport
	next       atomic.Uint32
}

func (p *pool) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.transports[int(p.next.Add(1))%len(p.transports)].RoundTrip(r)
}

// CloseIdleConnections closes them in all transports.
func (p *pool) CloseIdleConnections() {
	for _, t := range p.transports {
		t.CloseIdleConnections()
	}
}
