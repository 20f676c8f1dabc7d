package gateway

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

// Metrics count requests, errors and durations, of clients and of the services
// behind. They are an upstream.Observer.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight *prometheus.GaugeVec

	attempts *prometheus.CounterVec
	asked    *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	breaker  *prometheus.GaugeVec
	weight   *prometheus.GaugeVec
	shadowed *prometheus.CounterVec
	slower   *prometheus.HistogramVec
	streams  *prometheus.CounterVec
}

// NewMetrics returns metrics that a registry has.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	buckets := []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5}
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mib_gateway_requests_total", Help: "Requests that are over, by route and status. 0 is a connection that ended without an answer."}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mib_gateway_request_duration_seconds", Help: "How long requests took, streams included.", Buckets: buckets}, []string{"route"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mib_gateway_requests_in_flight", Help: "Requests under way."}, []string{"route"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mib_gateway_upstream_attempts_total", Help: "Attempts to ask a service, by target (stable, canary) and code."}, []string{"upstream", "target", "code"}),
		asked:    prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mib_gateway_upstream_duration_seconds", Help: "How long attempts took.", Buckets: buckets}, []string{"upstream", "target"}),
		retries:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mib_gateway_upstream_retries_total", Help: "Attempts after the first."}, []string{"upstream"}),
		breaker:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mib_gateway_upstream_breaker_open", Help: "1 while nothing is sent to a service because it fails, 0.5 while it is tried again, 0 otherwise."}, []string{"upstream"}),
		weight:   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mib_gateway_canary_weight", Help: "Share of requests that the canary gets; 0 after it was taken back."}, []string{"upstream"}),
		shadowed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mib_gateway_shadow_total", Help: "Copies to the shadow, by how its answer compares: same, different, status, or dropped."}, []string{"upstream", "result"}),
		slower:   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "mib_gateway_shadow_slower_seconds", Help: "By how much the shadow took longer; less than 0 if it was quicker.", Buckets: []float64{-.1, -.05, -.01, 0, .01, .05, .1, .5, 1}}, []string{"upstream"}),
		streams:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mib_gateway_upstream_streams_resumed_total", Help: "Streams of a service that broke and were taken up again."}, []string{"upstream"}),
	}
	reg.MustRegister(m.requests, m.duration, m.inFlight, m.attempts, m.asked, m.retries, m.breaker, m.weight, m.shadowed, m.slower, m.streams)
	return m
}

// A routeMetrics has the metrics of one route at hand.
type routeMetrics struct {
	all      *prometheus.CounterVec
	duration prometheus.Observer
	inFlight prometheus.Gauge
	by       [600]atomic.Pointer[prometheus.Counter] // by status
	route    string
}

func (m *Metrics) route(route string) *routeMetrics {
	return &routeMetrics{all: m.requests, duration: m.duration.WithLabelValues(route), inFlight: m.inFlight.WithLabelValues(route), route: route}
}

func (r *routeMetrics) begin() { r.inFlight.Inc() }

func (r *routeMetrics) end(status int, took time.Duration) {
	r.inFlight.Dec()
	r.duration.Observe(took.Seconds())
	if status < 0 || status >= len(r.by) {
		status = 0
	}
	c := r.by[status].Load()
	if c == nil {
		n := r.all.WithLabelValues(r.route, strconv.Itoa(status))
		c = &n
		r.by[status].Store(c)
	}
	(*c).Inc()
}

// Attempt implements upstream.Observer.
func (m *Metrics) Attempt(upstream, target, code string, took time.Duration) {
	m.attempts.WithLabelValues(upstream, target, code).Inc()
	m.asked.WithLabelValues(upstream, target).Observe(took.Seconds())
}

// Retry implements upstream.Observer.
func (m *Metrics) Retry(upstream string) { m.retries.WithLabelValues(upstream).Inc() }

// Breaker implements upstream.Observer.
func (m *Metrics) Breaker(upstream, state string) {
	v := map[string]float64{"open": 1, "half-open": 0.5}[state]
	m.breaker.WithLabelValues(upstream).Set(v)
}

// Weight implements upstream.Observer.
func (m *Metrics) Weight(upstream string, weight float64) {
	m.weight.WithLabelValues(upstream).Set(weight)
}

// Shadowed implements upstream.Observer.
func (m *Metrics) Shadowed(upstream, result string, slower time.Duration) {
	m.shadowed.WithLabelValues(upstream, result).Inc()
	if result != "dropped" {
		m.slower.WithLabelValues(upstream).Observe(slower.Seconds())
	}
}

// Requests returns the counter of requests of a route that were answered so.
func (m *Metrics) Requests(route, status string) prometheus.Counter {
	return m.requests.WithLabelValues(route, status)
}
