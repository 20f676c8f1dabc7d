package analytics

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Metrics counts what a member does, and how far behind it is. It is safe for
// concurrent use, and a prometheus.Collector.
type Metrics struct {
	ticks  *prometheus.CounterVec // by outcome
	alerts prometheus.Counter
	wait   prometheus.Histogram // of records, from when they were sent until they were used
	lag    *prometheus.Desc
	age    *prometheus.Desc

	mu      sync.Mutex
	client  *kgo.Client
	offsets map[int32]int64 // of the next tick, of the partitions that the member has
	newest  time.Time       // when a tick was used last
}

// NewMetrics returns metrics of a member that has nothing yet.
func NewMetrics() *Metrics {
	return &Metrics{
		ticks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mib_analytics_ticks_total",
			Help: "Ticks that were taken, by what became of them: used, repeated, late, out_of_order (in its window only), or invalid.",
		}, []string{"outcome"}),
		alerts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mib_analytics_alerts_total",
			Help: "Alerts that the broker has acknowledged.",
		}),
		wait: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mib_analytics_wait_seconds",
			Help:    "How long ticks were in the topic before they were used and what they gave cause to was acknowledged.",
			Buckets: []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}),
		lag: prometheus.NewDesc("mib_consumer_lag",
			"Records of a partition that are in the topic and not used yet. Only the member that has a partition shows it, so the sum over members is the lag of the group.",
			[]string{"topic", "partition"}, nil),
		age: prometheus.NewDesc("mib_analytics_last_tick_seconds",
			"When the member used a tick last, in seconds since 1970.", nil, nil),
		offsets: make(map[int32]int64),
	}
}

func (m *Metrics) follow(c *kgo.Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client = c
}

func (m *Metrics) own(partition int32, offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offsets[partition] = offset
}

func (m *Metrics) disown(partition int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.offsets, partition)
}

// used counts a part whose effects have been acknowledged.
func (m *Metrics) used(p *part) {
	repeated, late, outOfOrder := p.after.repeated-p.before.repeated, p.after.late-p.before.late, p.after.outOfOrder-p.before.outOfOrder
	for outcome, n := range map[string]int64{
		"repeated": repeated, "late": late, "out_of_order": outOfOrder, "invalid": int64(p.bad),
		"used": int64(len(p.records)) - repeated - late - outOfOrder - int64(p.bad),
	} {
		m.ticks.WithLabelValues(outcome).Add(float64(max(0, n)))
	}
	m.alerts.Add(float64(len(p.alerts)))
	now := time.Now()
	for _, r := range p.records {
		m.wait.Observe(max(0, now.Sub(r.Timestamp).Seconds()))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.offsets[p.partition]; ok {
		m.offsets[p.partition] = p.offset
	}
	m.newest = now
}

// lagTimeout bounds how long a scrape waits for the broker.
const lagTimeout = 2 * time.Second

// Lag returns how many records of each of the member's partitions are in the topic
// and not used yet.
func (m *Metrics) Lag(ctx context.Context) (map[int32]int64, error) {
	m.mu.Lock()
	client, offsets := m.client, make(map[int32]int64, len(m.offsets))
	for p, o := range m.offsets {
		offsets[p] = o
	}
	m.mu.Unlock()
	lag := make(map[int32]int64, len(offsets))
	if client == nil || len(offsets) == 0 {
		return lag, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lagTimeout)
	defer cancel()
	// Offsets are read before the ends: what is used meanwhile is behind, not ahead.
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, stream.Ticks)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	for p, o := range offsets {
		if end, ok := ends.Lookup(stream.Ticks, p); ok {
			lag[p] = max(0, end.Offset-o)
		}
	}
	return lag, nil
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.ticks.Describe(ch)
	m.alerts.Describe(ch)
	m.wait.Describe(ch)
	ch <- m.lag
	ch <- m.age
}

// Collect implements prometheus.Collector. While the broker does not answer there is
// no lag, rather than an old one or none: what scales by it must not take that for an
// empty topic.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.ticks.Collect(ch)
	m.alerts.Collect(ch)
	m.wait.Collect(ch)
	if lag, err := m.Lag(context.Background()); err == nil {
		for p, n := range lag {
			ch <- prometheus.MustNewConstMetric(m.lag, prometheus.GaugeValue, float64(n), stream.Ticks, strconv.Itoa(int(p)))
		}
	}
	m.mu.Lock()
	newest := m.newest
	m.mu.Unlock()
	if !newest.IsZero() {
		ch <- prometheus.MustNewConstMetric(m.age, prometheus.GaugeValue, float64(newest.UnixMilli())/1000)
	}
}
