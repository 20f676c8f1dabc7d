// Package web serves a program's management endpoints: /livez, /readyz and
// /metrics. It keeps the Prometheus registry; what there is to count stands in
// package metrics.
package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
)

// Meter counts what a controller does. It is the controller's Meter and an
// Observer, and the source of /metrics and /readyz.
type Meter struct {
	registry      *prometheus.Registry
	notices       *prometheus.CounterVec
	messages      *prometheus.CounterVec
	age           prometheus.Histogram
	stored        prometheus.Histogram
	cordon        prometheus.Histogram
	empty         prometheus.Histogram
	interruptions *prometheus.CounterVec
	draining      prometheus.Gauge
	pods          *prometheus.CounterVec
	blocked       *prometheus.CounterVec
	lost          prometheus.Counter
	effects       *prometheus.CounterVec
	notifications *prometheus.CounterVec
	step          prometheus.Histogram
	synced        prometheus.Gauge
	leader        prometheus.Gauge

	ready atomic.Bool
	open  open
}

// NewMeter returns a Meter with a registry of its own.
func NewMeter() *Meter {
	m := &Meter{
		registry: prometheus.NewRegistry(),
		notices:  counters(metrics.Notices), messages: counters(metrics.Messages), age: histogram(metrics.NoticeAge), stored: histogram(metrics.NoticeToStored),
		cordon: histogram(metrics.NoticeToCordon), empty: histogram(metrics.NoticeToEmpty),
		interruptions: counters(metrics.Interruptions), draining: gauge(metrics.Draining),
		pods: counters(metrics.Pods), blocked: counters(metrics.Blocked),
		lost:    prometheus.NewCounter(prometheus.CounterOpts{Name: metrics.LostPodSeconds.Name, Help: metrics.LostPodSeconds.Help}),
		effects: counters(metrics.Effects), notifications: counters(metrics.Notifications), step: histogram(metrics.StepSeconds),
		synced: gauge(metrics.InSync), leader: gauge(metrics.Leader),
		open: open{byID: make(map[string]*counted), budgets: make(map[string]bool)},
	}
	m.registry.MustRegister(m.notices, m.messages, m.age, m.stored, m.cordon, m.empty, m.interruptions, m.draining, m.pods, m.blocked,
		m.lost, m.effects, m.notifications, m.step, m.synced, m.leader,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counters(m metrics.Metric) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
}

func gauge(m metrics.Metric) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: m.Name, Help: m.Help})
}

func histogram(m metrics.Metric) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets})
}

// Notice counts a notice by what became of it, and how long that took.
func (m *Meter) Notice(n interruption.Notice, answer drain.Reason, waited time.Duration) {
	m.notices.WithLabelValues(string(n.Cloud), string(n.Kind), string(answer)).Inc()
	if !n.Sent.IsZero() && !n.Seen.IsZero() {
		m.age.Observe(max(n.Seen.Sub(n.Sent), 0).Seconds())
	}
	m.stored.Observe(waited.Seconds())
}

// Message counts one receipt of a message by what became of it.
func (m *Meter) Message(outcome string) { m.messages.WithLabelValues(outcome).Inc() }

// Effect counts an effect by how it ended.
func (m *Meter) Effect(e drain.Effect, o drain.Outcome, sinceNotice time.Duration) {
	m.effects.WithLabelValues(string(e.Kind), string(e.Reason), string(o)).Inc()
	if e.Kind != drain.Store || o != drain.Done {
		return
	}
	switch e.Reason {
	case drain.NoticeReceived:
		m.cordon.Observe(sinceNotice.Seconds())
	case drain.NodeEmptied:
		m.empty.Observe(sinceNotice.Seconds())
	}
}

// Step measures one decision.
func (m *Meter) Step(took time.Duration) { m.step.Observe(took.Seconds()) }

// Synced notes that the cluster is known.
func (m *Meter) Synced() {
	m.synced.Set(1)
	m.ready.Store(true)
}

func (m *Meter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !m.ready.Load() {
			http.Error(w, "the cluster has not been listed yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	return mux
}

// Serve answers at addr until ctx ends. /livez says that the process runs;
// /readyz that the cluster is known, so that this process acts or could: one that
// stands by is ready too.
func (m *Meter) Serve(ctx context.Context, addr string, log *slog.Logger) error {
	srv := &http.Server{Handler: m.handler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("serving metrics: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}
