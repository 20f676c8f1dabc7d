package web

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// costs exports what a Ledger says. Changes come from the controller's loop,
// questions from whoever scrapes, so there is a lock between them.
type costs struct {
	mu     sync.Mutex
	ledger *bill.Ledger
}

var costDescs = func() map[string]*prometheus.Desc {
	out := make(map[string]*prometheus.Desc)
	for _, m := range []metrics.Metric{
		metrics.Cost, metrics.OnDemandCost, metrics.Spent, metrics.Saved, metrics.HeadroomCost, metrics.Unpriced, metrics.OldestPrice,
	} {
		out[m.Name] = prometheus.NewDesc(m.Name, m.Help, m.Labels, nil)
	}
	return out
}()

// CountCosts makes the Meter export what the cluster's nodes cost by these
// prices. The function returned is to be told of every change of the cluster.
func (m *Meter) CountCosts(prices *price.Table) func([]cluster.Change) {
	c := &costs{ledger: bill.NewLedger(prices, time.Now())}
	m.registry.MustRegister(c)
	return c.changed
}

func (c *costs) changed(changes []cluster.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ledger.Apply(changes, time.Now())
}

// Describe lists what Collect sends.
func (c *costs) Describe(out chan<- *prometheus.Desc) {
	for _, d := range costDescs {
		out <- d
	}
}

// Collect sends the account of this moment.
func (c *costs) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	a := c.ledger.At(time.Now())
	c.mu.Unlock()
	send := func(m metrics.Metric, v float64, labels ...string) {
		kind := prometheus.GaugeValue
		if m.Type == metrics.Counter {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(costDescs[m.Name], kind, v, labels...)
	}
	for _, l := range a.Lines {
		send(metrics.Cost, l.Cost.USD(), l.Pool, string(l.Capacity))
		send(metrics.OnDemandCost, l.OnDemand.USD(), l.Pool, string(l.Capacity))
	}
	send(metrics.Spent, a.Spent.USD())
	send(metrics.Saved, a.Saved.USD())
	send(metrics.HeadroomCost, a.Headroom.USD())
	send(metrics.Unpriced, float64(a.Unpriced))
	if !a.Oldest.IsZero() {
		send(metrics.OldestPrice, float64(a.Oldest.Unix()))
	}
}
