// Package interruption holds the Notice, the one noun that every source of
// interruptions produces, and pure decoders from the clouds' wire formats into
// it. It knows no cluster, no clock and no client: what a decoder returns
// depends on its arguments alone.
package interruption

import "time"

// Cloud names the provider that sent a notice.
type Cloud string

// The clouds whose notices are understood. Manual stands for a person who drains a
// node by hand.
const (
	AWS    Cloud = "aws"
	GCP    Cloud = "gcp"
	Azure  Cloud = "azure"
	Manual Cloud = "manual"
)

// InstanceID is the provider's name of one machine: "i-0123456789abcdef0" on AWS,
// "project/zone/name" on GCP, and the resource ID in lower case on Azure.
type InstanceID string

// Kind says what a notice announces.
type Kind string

// The kinds of notices.
const (
	SpotInterruption Kind = "spot-interruption"
	// Rebalance carries no deadline: it says that the risk has risen, not that the
	// machine goes.
	Rebalance Kind = "rebalance-recommendation"
	// StateChange says that the machine is going down or has gone.
	StateChange Kind = "state-change"
	// ScheduledChange is maintenance announced ahead: AWS Health, GCP host
	// maintenance, Azure Scheduled Events other than Preempt. Its deadline is the
	// announced start.
	ScheduledChange Kind = "scheduled-change"
	// CapacityReservation is the interruption of an instance that ran in a capacity
	// reservation of somebody else's.
	CapacityReservation Kind = "capacity-reservation-interruption"
	// LifecycleHook is an Auto Scaling group that waits, for as long as its hook
	// allows, before it terminates the instance. Its Hook is set if it is ours to
	// answer: not where EKS does that, nor where the machine itself has given the
	// notice, which does not know the hook's name. It has no deadline: how long the
	// group waits can be stretched.
	LifecycleHook Kind = "lifecycle-hook"
	// ManualDrain is a person's own request, with a deadline of their choice.
	ManualDrain Kind = "manual-drain"
	// Cancelled takes an earlier notice of the same instance back.
	Cancelled Kind = "cancelled"
)

// A Notice says that one instance goes away at a time. It is plain data:
// progress lives in the drain Record, never here.
type Notice struct {
	// ID is the sender's identity of the message, used only to follow it through
	// logs. Two sources may announce the same interruption under different IDs.
	ID       string     `json:"id"`
	Cloud    Cloud      `json:"cloud"`
	Instance InstanceID `json:"instance"`
	Kind     Kind       `json:"kind"`
	// Action is what happens to the machine at the deadline, as the cloud says
	// it: terminate, stop or hibernate. Empty where the kind has none.
	Action string `json:"action,omitempty"`
	// Deadline is when the machine goes, computed from the event's own time and
	// not from when it was read. Zero for a kind without a deadline.
	Deadline time.Time `json:"deadline,omitzero"`
	// Sent is the event's own time.
	Sent time.Time `json:"sent"`
	// Seen is when a source of ours read it.
	Seen time.Time `json:"seen"`
	// Hook is what has to be answered when the node is empty. Nil where nobody waits
	// for an answer.
	Hook *Hook `json:"hook,omitempty"`
}

// A Hook is an Auto Scaling lifecycle action that waits to be completed.
type Hook struct {
	Group    string     `json:"group"` // the Auto Scaling group's name
	Name     string     `json:"name"`  // the hook's
	Token    string     `json:"token"` // of this action
	Instance InstanceID `json:"instance"`
}
