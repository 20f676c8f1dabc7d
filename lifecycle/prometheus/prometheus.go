// Package lifecycleprom shows a Lifecycle to Prometheus.
//
//	prometheus.MustRegister(lifecycleprom.Collector(l))
//
// A process that has ended is not scraped any more, so what happened in the last
// seconds is in the cut record and not here; these metrics show endings while
// they go on, and what is in flight.
package lifecycleprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

var (
	phaseDesc = prometheus.NewDesc("evenkeel_lifecycle_phase", "1 for the phase that the process is in, 0 for the others.",
		[]string{"phase"}, nil)
	phaseSecondsDesc = prometheus.NewDesc("evenkeel_lifecycle_phase_seconds", "How long each phase has taken, or has taken so far.",
		[]string{"phase"}, nil)
	readyDesc = prometheus.NewDesc("evenkeel_lifecycle_ready", "1 if /readyz answers 200.",
		nil, nil)
	startDesc = prometheus.NewDesc("evenkeel_lifecycle_start_total", "Endings that began, by what began them: 0 or 1 in the life of a process.",
		[]string{"trigger"}, nil)
	deadlineDesc = prometheus.NewDesc("evenkeel_lifecycle_deadline_timestamp_seconds", "When the process will have ended at the latest; absent before the ending.",
		nil, nil)
	graceDesc = prometheus.NewDesc("evenkeel_lifecycle_grace_seconds", "The grace period that the process was told.",
		nil, nil)
	inFlightDesc = prometheus.NewDesc("evenkeel_lifecycle_in_flight", "Requests in flight.",
		[]string{"protocol"}, nil)
	requestsDesc = prometheus.NewDesc("evenkeel_lifecycle_requests_total", "Requests that are over, by how they ended.",
		[]string{"protocol", "outcome"}, nil)
	idleDesc = prometheus.NewDesc("evenkeel_lifecycle_idle_connections", "Open connections without a request.",
		nil, nil)
	openStreamsDesc = prometheus.NewDesc("evenkeel_lifecycle_streams", "Open streams, WebSockets among them.",
		nil, nil)
	streamsDesc = prometheus.NewDesc("evenkeel_lifecycle_streams_total", "Streams that are over, by how they ended.",
		[]string{"outcome"}, nil)
)

// Collector returns a collector of the metrics of l. Each scrape reads one
// snapshot; requests pay nothing for it.
func Collector(l *lifecycle.Lifecycle) prometheus.Collector { return collector{l} }

type collector struct{ l *lifecycle.Lifecycle }

func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		phaseDesc, phaseSecondsDesc, readyDesc, startDesc, deadlineDesc, graceDesc,
		inFlightDesc, requestsDesc, idleDesc, openStreamsDesc, streamsDesc,
	} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.l.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for p := lifecycle.Serving; p <= lifecycle.Cut; p++ {
		gauge(phaseDesc, truth(p == s.Phase), p.String())
		gauge(phaseSecondsDesc, s.PhaseDuration[p].Seconds(), p.String())
	}
	gauge(readyDesc, truth(s.Ready))
	gauge(graceDesc, s.Grace.Seconds())
	if !s.Deadline.IsZero() {
		gauge(deadlineDesc, float64(s.Deadline.UnixMilli())/1000)
		count(startDesc, 1, string(s.Trigger))
	}
	for _, r := range s.Requests {
		gauge(inFlightDesc, float64(r.InFlight), r.Protocol)
		count(requestsDesc, r.Finished, r.Protocol, "finished")
		count(requestsDesc, r.Cut, r.Protocol, "cut")
	}
	gauge(idleDesc, float64(s.IdleConnections))
	gauge(openStreamsDesc, float64(s.Streams.Open))
	count(streamsDesc, s.Streams.Ended, "ended")
	count(streamsDesc, s.Streams.HandedOver, "handed_over")
	count(streamsDesc, s.Streams.Cut, "cut")
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
