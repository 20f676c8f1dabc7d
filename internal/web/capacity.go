package web

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// Capacity exports what is advised about capacity and what is done about it. Make one
// with Meter.CountCapacity. It is safe for concurrent use.
type Capacity struct {
	changes *prometheus.CounterVec

	mu     sync.Mutex
	advice []capacity.Advice
}

var capacityDescs = func() map[string]*prometheus.Desc {
	out := make(map[string]*prometheus.Desc)
	for _, m := range []metrics.Metric{
		metrics.CapacityWanted, metrics.CapacityAsked, metrics.CapacityAvoided, metrics.CapacityPlaces, metrics.CapacityHindered,
	} {
		out[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return out
}()

// CountCapacity makes the Meter export what the returned Capacity is told.
func (m *Meter) CountCapacity() *Capacity {
	c := &Capacity{changes: counters(metrics.CapacityChanges)}
	m.registry.MustRegister(c, c.changes)
	return c
}

// Advised takes in what is advised now; nil for nothing any more.
func (c *Capacity) Advised(advice []capacity.Advice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advice = advice
}

// Done counts an effect by how it ended.
func (c *Capacity) Done(e capacity.Effect, err error) {
	outcome := "done"
	if err != nil {
		outcome = "failed"
	}
	c.changes.WithLabelValues(string(e.Kind), string(e.Reason), outcome).Inc()
}

// Describe lists what Collect sends.
func (c *Capacity) Describe(out chan<- *prometheus.Desc) {
	for _, d := range capacityDescs {
		out <- d
	}
}

// Collect sends the advice of this moment.
func (c *Capacity) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	advice := c.advice
	c.mu.Unlock()
	for _, a := range advice {
		send := func(m metrics.Metric, v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(capacityDescs[m.Name], prometheus.GaugeValue, v, append([]string{a.Pool}, labels...)...)
		}
		send(metrics.CapacityWanted, float64(a.Want))
		send(metrics.CapacityPlaces, float64(len(a.Places)))
		asked := map[capacity.Reason]int{capacity.SpotMissing: 0, capacity.SpotReady: 0, capacity.CheaperPool: 0}
		avoided := 0
		for _, q := range a.Places {
			if !q.Avoided.IsZero() {
				avoided++
			}
			asked[capacity.CheaperPool] += q.Move
			if q.Ask > 0 {
				asked[q.Why] += q.Ask
			}
		}
		send(metrics.CapacityAvoided, float64(avoided))
		for reason, n := range asked {
			send(metrics.CapacityAsked, float64(n), string(price.Spot), string(reason))
		}
		send(metrics.CapacityAsked, float64(a.Asked), string(price.OnDemand), string(capacity.Bridge))
		for _, reason := range a.Hindered {
			send(metrics.CapacityHindered, 1, string(reason))
		}
	}
}
