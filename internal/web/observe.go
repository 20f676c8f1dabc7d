package web

import (
	"sync"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// mostBudgets bounds how many budgets are counted under their own names.
const mostBudgets = 100

// open remembers of each interruption that goes on what has been counted of it.
type open struct {
	mu      sync.Mutex
	byID    map[string]*counted
	budgets map[string]bool
}

type counted struct {
	outcome bool // its end has been counted
	lost    float64
}

// Observe counts one event of an interruption.
func (m *Meter) Observe(e drain.Event) {
	m.open.mu.Lock()
	defer m.open.mu.Unlock()
	id := e.Record.ID()
	c := m.open.byID[id]
	if c == nil {
		// One that was emptied before we heard of it was counted by the process that
		// emptied it.
		c = &counted{outcome: e.Kind != drain.EventEmptied && !e.Record.Emptied.IsZero()}
		switch e.Kind {
		case drain.EventNoticed, drain.EventTightened, drain.EventEmptied, drain.EventMissed:
			m.open.byID[id] = c
		}
	}
	// What has been lost is told as a sum, and counted as what was added to it.
	if e.Lost > c.lost {
		m.lost.Add(e.Lost - c.lost)
		c.lost = e.Lost
	}
	switch e.Kind {
	case drain.EventPod:
		m.pod(e)
	case drain.EventEmptied:
		outcome := "emptied"
		if e.Record.Emptied.After(e.Record.Deadline) {
			outcome = "missed"
		}
		m.ended(c, e, outcome)
	case drain.EventMissed:
		m.ended(c, e, "missed")
	case drain.EventCancelled:
		m.ended(c, e, "cancelled")
		delete(m.open.byID, id)
	case drain.EventExpired:
		m.ended(c, e, "expired")
		delete(m.open.byID, id)
	case drain.EventClosed:
		outcome := "gone"
		if !e.Record.Deadline.IsZero() && !e.At.Before(e.Record.Deadline) {
			outcome = "missed"
		}
		m.ended(c, e, outcome)
		delete(m.open.byID, id)
	}
	draining := 0
	for _, c := range m.open.byID {
		if !c.outcome {
			draining++
		}
	}
	m.draining.Set(float64(draining))
}

// ended counts the end of an interruption, once.
func (m *Meter) ended(c *counted, e drain.Event, outcome string) {
	if c.outcome {
		return
	}
	c.outcome = true
	m.interruptions.WithLabelValues(e.Pool, string(e.Record.Notice.Kind), outcome).Inc()
}

func (m *Meter) pod(e drain.Event) {
	switch e.Outcome {
	case drain.Blocked:
		budget := e.BudgetName()
		if budget == "" || !m.open.budgets[budget] && len(m.open.budgets) >= mostBudgets {
			budget = "other"
		} else {
			m.open.budgets[budget] = true
		}
		m.blocked.WithLabelValues(budget).Inc()
	case drain.Done:
		if method := drain.Method(e.Effect, e.Reason); method != "" {
			m.pods.WithLabelValues(method, string(e.Reason)).Inc()
		}
	}
}

// Notified counts what became of a notification.
func (m *Meter) Notified(channel, outcome string) {
	m.notifications.WithLabelValues(channel, outcome).Inc()
}

// Leading notes whether this process is the one that acts.
func (m *Meter) Leading(leading bool) {
	if leading {
		m.leader.Set(1)
		return
	}
	m.leader.Set(0)
	// What goes on from here is another one's to count.
	m.open.mu.Lock()
	defer m.open.mu.Unlock()
	clear(m.open.byID)
	m.draining.Set(0)
}
