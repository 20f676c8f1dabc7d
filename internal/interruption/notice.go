// Package interruption holds the Notice, the one noun that every source of
// interruptions produces, and pure decoders from the clouds' wire formats into
// it. It knows no cluster, no clock and no client: what a decoder returns
// depends on its arguments alone.
package interruption

import (
	"strings"
	"time"
)

// Cloud names the provider that sent a notice.
type Cloud string

// The clouds whose notices are understood.
const (
	AWS Cloud = "aws"
)

// InstanceID is the provider's name of one machine, for example
// "i-0123456789abcdef0".
type InstanceID string

// Kind says what a notice announces.
type Kind string

// The kinds of notices. A rebalance recommendation carries no deadline: it says
// that the risk has risen, not that the machine goes.
const (
	SpotInterruption Kind = "spot-interruption"
	Rebalance        Kind = "rebalance-recommendation"
	StateChange      Kind = "state-change"
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
}

// InstanceOfProviderID returns the instance named by a node's spec.providerID,
// for example "aws:///us-east-1a/i-0123456789abcdef0". Node names are never
// used for this: they are the DNS name or the instance ID, depending on how the
// cluster was set up.
func InstanceOfProviderID(providerID string) (InstanceID, bool) {
	if !strings.HasPrefix(providerID, "aws://") {
		return "", false
	}
	id := providerID[strings.LastIndexByte(providerID, '/')+1:]
	if !strings.HasPrefix(id, "i-") {
		return "", false
	}
	return InstanceID(id), true
}
