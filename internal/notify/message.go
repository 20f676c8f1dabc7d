package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// MaxNodes is how many nodes a Message names. The others are only counted.
const MaxNodes = 50

// Message is what people are told: one thing that happened, to one node or to
// many of a pool and zone. Its JSON form is what a webhook receives.
type Message struct {
	Version int `json:"version"` // of this form: 1
	// ID is the same for every attempt to deliver the message.
	ID      string            `json:"id"`
	Event   drain.EventKind   `json:"event"`
	Resumed bool              `json:"resumed,omitempty"` // the drains had begun before this controller did
	Cluster string            `json:"cluster,omitempty"`
	Kind    interruption.Kind `json:"kind"`
	Pool    string            `json:"pool,omitempty"`
	Zone    string            `json:"zone,omitempty"`
	// Text says it in a sentence.
	Text  string    `json:"text"`
	At    time.Time `json:"at"`    // of the first node
	Count int       `json:"count"` // of nodes
	// Deadline is the earliest of all nodes.
	Deadline time.Time `json:"deadline,omitzero"`
	// Slowest is the longest time from a notice to an empty node. Of emptied.
	Slowest Seconds `json:"slowestSeconds,omitempty"`
	// Left are pods that had to move and are still there. Of missed.
	Left int `json:"podsLeft,omitempty"`
	// Lost are the ready-pod-seconds lost. Of emptied and missed.
	Lost float64 `json:"lostReadyPodSeconds,omitempty"`
	// Nodes names the first MaxNodes.
	Nodes []Node `json:"nodes"`
}

// Node is one node of a Message.
type Node struct {
	Name         string                  `json:"name"`
	Instance     interruption.InstanceID `json:"instance"`
	Interruption string                  `json:"interruption"` // the same in log lines, events and the proof record
	Deadline     time.Time               `json:"deadline,omitzero"`
}

// Seconds is a duration that JSON has as a number of seconds.
type Seconds time.Duration

// MarshalJSON writes the number of seconds, with milliseconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", time.Duration(s).Seconds()), nil
}

// add takes one more node in.
func (m *Message) add(e drain.Event) {
	m.Count++
	if d := e.Record.Deadline; !d.IsZero() && (m.Deadline.IsZero() || d.Before(m.Deadline)) {
		m.Deadline = d
	}
	if e.Kind == drain.EventEmptied && !e.Record.Notice.Sent.IsZero() {
		m.Slowest = max(m.Slowest, Seconds(e.Record.Emptied.Sub(e.Record.Notice.Sent)))
	}
	m.Left += e.Left
	m.Lost += e.Lost
	if len(m.Nodes) < MaxNodes {
		m.Nodes = append(m.Nodes, Node{e.Node, e.Record.Notice.Instance, e.Record.ID(), e.Record.Deadline})
	}
}

// sentence says what the message is about.
func (m *Message) sentence() string {
	var b strings.Builder
	if m.Cluster != "" {
		fmt.Fprintf(&b, "%s: ", m.Cluster)
	}
	is, goes := "were", "the first goes"
	if m.Count == 1 {
		fmt.Fprintf(&b, "node %s", m.Nodes[0].Name)
		is, goes = "was", "it goes"
	} else {
		fmt.Fprintf(&b, "%d nodes", m.Count)
	}
	if m.Pool != "" {
		fmt.Fprintf(&b, " of pool %s", m.Pool)
	}
	if m.Zone != "" {
		fmt.Fprintf(&b, " in %s", m.Zone)
	}
	switch m.Event {
	case drain.EventNoticed:
		if m.Resumed {
			fmt.Fprintf(&b, " %s being emptied when this controller began, which goes on with that", is)
		} else {
			fmt.Fprintf(&b, " %s noticed (%s)", is, m.Kind)
		}
		if !m.Deadline.IsZero() {
			fmt.Fprintf(&b, "; %s at %s", goes, m.Deadline.UTC().Format("15:04:05 MST"))
		}
	case drain.EventEmptied:
		fmt.Fprintf(&b, " %s emptied", is)
		if m.Slowest > 0 {
			took := time.Duration(m.Slowest).Round(time.Second)
			if m.Count == 1 {
				fmt.Fprintf(&b, ", %v after the notice", took)
			} else {
				fmt.Fprintf(&b, ", the slowest %v after its notice", took)
			}
		}
		b.WriteString("; " + lost(m.Lost))
	case drain.EventMissed:
		fmt.Fprintf(&b, " %s not empty at the deadline: %s left; %s", is, pods(m.Left), lost(m.Lost))
	case drain.EventCancelled:
		fmt.Fprintf(&b, " %s given back: the notice was taken back", is)
	case drain.EventExpired:
		why := "the machine outlived its deadline"
		if m.Kind == interruption.Rebalance {
			why = "no interruption has followed"
		}
		fmt.Fprintf(&b, " %s given back: %s", is, why)
	}
	return b.String()
}

func pods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}

func lost(seconds float64) string {
	if seconds < 0.05 {
		return "no service was short of a pod"
	}
	return fmt.Sprintf("%.1f ready-pod-seconds were lost", seconds)
}
