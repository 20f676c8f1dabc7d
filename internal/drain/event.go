package drain

import (
	"fmt"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// EventKind says what happened to an interruption.
type EventKind string

// The kinds of events, in the order in which an interruption usually meets them.
const (
	EventNoticed   EventKind = "noticed"   // its Record is stored and the node cordoned; Reason is Resumed if that was so when we started
	EventTightened EventKind = "tightened" // a later notice moved the deadline forward
	EventPod       EventKind = "pod"       // something was done about a pod: Effect, Reason and Outcome say what
	EventEmptied   EventKind = "emptied"   // the last pod that had to move has left
	EventMissed    EventKind = "missed"    // the deadline came with pods still there
	EventCancelled EventKind = "cancelled" // the notice was taken back, by its sender or by a person
	EventExpired   EventKind = "expired"   // the machine outlived its deadline and was given back
	EventClosed    EventKind = "closed"    // the machine is gone; nothing more will be said about it
)

// An Event tells those who watch (notifications, Kubernetes Events, the proof
// record, metrics) about one step in the life of one interruption. It asks for
// nothing: what has to be done is an Effect.
type Event struct {
	Kind EventKind
	At   time.Time
	Node string
	Pool string
	Zone string
	// InstanceType is the node's; with the zone it says which of the cloud's pools
	// shrinks.
	InstanceType string
	Record       Record // the interruption as it stands
	Reason       Reason

	// Of EventPod.
	Pod     cluster.Key
	UID     cluster.UID
	Service string // "Deployment/web" and the like; empty for a bare pod
	Effect  Kind   // Handoff, Withdraw, Evict or Delete
	Outcome Outcome
	Budget  string // the PodDisruptionBudget that blocks, if Outcome is Blocked and it is known

	// Of EventEmptied, EventMissed and EventClosed.
	Left int     // pods that had to move and are still there
	Lost float64 // ready-pod-seconds lost to this interruption so far
}

// String describes the event in one line, as in the tests' scripts.
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Node, e.Kind)
	if e.Kind == EventPod {
		fmt.Fprintf(&b, " %s %s %s", e.Effect, e.Pod.Name, e.Outcome)
		if e.Service != "" {
			fmt.Fprintf(&b, " of %s", e.Service)
		}
		if e.Budget != "" {
			fmt.Fprintf(&b, " by %s", e.Budget)
		}
	}
	if e.Left > 0 {
		fmt.Fprintf(&b, " left=%d", e.Left)
	}
	if e.Lost > 0 {
		fmt.Fprintf(&b, " lost=%.1fs", e.Lost)
	}
	fmt.Fprintf(&b, " (%s)", e.Reason)
	return b.String()
}
