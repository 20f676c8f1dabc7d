// Package serviceproxy is what kube-proxy is to a cluster, for pods that are
// processes on one machine's loopback: it makes Service addresses reachable and
// spreads connections over the endpoints that the API server names.
//
// It decides which endpoint a connection goes to (kube-proxy's rule, including
// terminating endpoints) and when a change of an EndpointSlice takes effect (a
// while later, because no real cluster is instant). It hides that there is a
// process in between: it works on layer 4 only, passes ends of streams and
// resets on as what they are, lets connections live on when their endpoint
// leaves the table, and lets them freeze when their endpoint's machine is gone.
// When the API server is away it serves the last table.
//
// It does not know pods, nodes, probes or HTTP. It differs from kube-proxy in
// one thing that a client can see: an endpoint that refuses a connection shows
// as a reset right after connecting, since the client was accepted before.
//
// Service ports are opened with their own number, so one below 1024 needs the
// right to do that (root, CAP_NET_BIND_SERVICE, or a lower
// net.ipv4.ip_unprivileged_port_start).
package serviceproxy

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/feed"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/podnet"
)

// Config says what a Proxy serves. Client and Net must be set.
type Config struct {
	Client kubernetes.Interface // lists and watches Services and EndpointSlices of all namespaces
	Net    *podnet.Net

	// Delay and Jitter say how long a change of an EndpointSlice takes to reach
	// the table: Delay plus a uniform part of -Jitter to +Jitter, and never less
	// than nothing. What the first list holds takes effect at once. If both are
	// zero, they default to 1 s and 0.3 s; a negative Delay means no delay.
	Delay, Jitter time.Duration

	// WatchRetry is the longest pause before a lost watch is tried again.
	// Defaults to 2 s. kube-proxy pauses for up to a minute: after an API server
	// has been away for 10 s, that alone would keep the table stale for another
	// 10 s. A single API server is this harness's doing, and so is its cure.
	WatchRetry time.Duration

	Seed uint64       // of endpoint choice and jitter
	Log  *slog.Logger // defaults to nowhere
}

// Proxy serves the Services of one cluster. Its methods are safe for concurrent
// use.
type Proxy struct {
	client     kubernetes.Interface
	net        *podnet.Net
	log        *slog.Logger
	watchRetry time.Duration
	delay      delayQueue // owned by Run

	mu    sync.Mutex // guards all below, and is held for no I/O
	rng   *rand.Rand
	table table
	stats map[string]*ServiceStats
}

// New returns a Proxy that serves nothing until it is run.
func New(c Config) *Proxy {
	if c.Delay == 0 && c.Jitter == 0 {
		c.Delay, c.Jitter = time.Second, 300*time.Millisecond
	}
	if c.WatchRetry == 0 {
		c.WatchRetry = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Delay < 0 {
		c.Delay, c.Jitter = 0, 0
	}
	return &Proxy{
		client:     c.Client,
		net:        c.Net,
		log:        c.Log,
		watchRetry: c.WatchRetry,
		delay:      delayQueue{delay: c.Delay, jitter: c.Jitter, rng: rand.New(rand.NewPCG(c.Seed, 1))},
		rng:        rand.New(rand.NewPCG(c.Seed, 2)),
		stats:      make(map[string]*ServiceStats),
	}
}

// Run serves until ctx ends, then closes everything, and returns nil when all
// listeners, connections and watches have ended. It may be called once.
func (p *Proxy) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()

	// The watches hand changes to the loop below, which owns all state that
	// they build up.
	type serviceChange struct {
		key     string
		service *corev1.Service // nil: gone
	}
	type observedSlice struct {
		sliceChange
		initial bool
	}
	serviceChanges := make(chan serviceChange)
	sliceChanges := make(chan observedSlice)
	wg.Go(func() {
		feed.Services(ctx, p.client, p.watchRetry, p.log, func(key string, s *corev1.Service, _ bool) {
			send(ctx, serviceChanges, serviceChange{key, s})
		})
	})
	wg.Go(func() {
		feed.EndpointSlices(ctx, p.client, p.watchRetry, p.log, func(key string, s *discoveryv1.EndpointSlice, initial bool) {
			send(ctx, sliceChanges, observedSlice{sliceChange{key, s}, initial})
		})
	})

	services := make(map[string]*corev1.Service)
	slices := make(map[string]*discoveryv1.EndpointSlice) // as they are in effect
	open := &ports{open: make(map[portKey]openPort), failing: make(map[portKey]bool)}
	defer open.close()
	wake := time.NewTimer(0)
	defer wake.Stop()

	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-serviceChanges:
			set(services, c.key, c.service)
		case c := <-sliceChanges:
			if c.initial {
				set(slices, c.key, c.slice)
			} else {
				p.delay.push(time.Now(), c.sliceChange)
			}
		case <-wake.C:
		}

		now := time.Now()
		for _, c := range p.delay.pop(now) {
			set(slices, c.key, c.slice)
			p.log.Debug("endpoint slice takes effect", "slice", c.key, "gone", c.slice == nil)
		}
		t := buildTable(p.net, services, slices)
		p.mu.Lock()
		p.table = t
		p.mu.Unlock()

		next, held := p.delay.next()
		if complete := p.converge(ctx, &wg, open, t); !complete && (!held || next.After(now.Add(listenRetry))) {
			next, held = now.Add(listenRetry), true
		}
		if held {
			wake.Reset(time.Until(next))
		}
	}
}

// Addr returns where clients on this machine connect for a TCP port of a
// Service; portName is "" when the Service's only port has no name. It is false
// while the Proxy does not know the port. That the port is known does not mean
// that it has an endpoint.
func (p *Proxy) Addr(namespace, service, portName string) (netip.AddrPort, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.table[portKey{namespace, service, portName}]
	if !ok {
		return netip.AddrPort{}, false
	}
	return p.front(t.cluster), true
}

// set stores v, or removes the key when v is nil.
func set[T any](m map[string]*T, key string, v *T) {
	if v == nil {
		delete(m, key)
	} else {
		m[key] = v
	}
}

// send hands v to the loop, unless the loop has ended.
func send[T any](ctx context.Context, ch chan<- T, v T) {
	select {
	case ch <- v:
	case <-ctx.Done():
	}
}
