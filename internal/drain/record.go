package drain

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Record is the durable state of one node's interruption. It lives in the
// Kubernetes API, in an annotation of the node, and is stored together with the
// cordon in one patch, so that there is never one without the other. Everything
// else that a drain needs to know is read from the cluster itself: a pod that was
// handed off carries a label, one that was evicted is terminating. So a
// controller that starts anew has nothing to resume; it reads and goes on.
type Record struct {
	// Notice is the one that set the deadline: the earliest of those received.
	Notice interruption.Notice `json:"notice"`
	// Deadline is when the machine goes. Zero for a rebalance recommendation, and for
	// a person who is in no hurry.
	Deadline time.Time `json:"deadline,omitzero"`
	// Start is when the drain begins, if that is not at once: what is announced for
	// next week is not emptied today. Zero from then on.
	Start time.Time `json:"start,omitzero"`
	// Hooks are the lifecycle actions that wait for the node to be emptied, and
	// Completed is when they were told that it is, or that it will not be.
	Hooks     []interruption.Hook `json:"hooks,omitempty"`
	Completed time.Time           `json:"completed,omitzero"`
	// Cordoned says that Evenkeel made the node unschedulable. A node that a person
	// had cordoned before is not ours to uncordon.
	Cordoned bool `json:"cordoned,omitempty"`
	// Stored is when this Record was first written.
	Stored time.Time `json:"stored"`
	// Emptied is when the last pod that had to move had left. Zero until then.
	Emptied time.Time `json:"emptied,omitzero"`
	// OutOfService says that the node was given the taint of that name, since its
	// machine is gone and pods with volumes were left.
	OutOfService bool `json:"outOfService,omitempty"`
	// Closed is when the machine was found to be gone. The node's object may remain.
	Closed time.Time `json:"closed,omitzero"`
}

// ID names the interruption: the same for as long as it lasts, whatever notices
// and controllers come and go, and another one when the instance is noticed again
// later. It stands in every log line, event and report about the interruption.
func (r Record) ID() string {
	return string(r.Notice.Instance) + "." + r.Stored.UTC().Format("20060102T150405Z")
}

// recordJSON is the stored form; the version comes first for people who read it.
type recordJSON struct {
	Version int `json:"version"`
	Record
}

const recordVersion = 1

// Encode returns the annotation's value.
func (r Record) Encode() string {
	b, err := json.Marshal(recordJSON{recordVersion, r})
	if err != nil {
		panic(err) // cannot happen: every field of a Record can be marshalled
	}
	return string(b)
}

// DecodeRecord reads an annotation's value.
func DecodeRecord(value string) (Record, error) {
	var r recordJSON
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return Record{}, fmt.Errorf("decoding a Record: %w", err)
	}
	if r.Version != recordVersion {
		return Record{}, fmt.Errorf("decoding a Record: version %d is not %d: it was written by another release of Evenkeel", r.Version, recordVersion)
	}
	if r.Notice.Instance == "" {
		return Record{}, fmt.Errorf("decoding a Record: notice.instance must be set")
	}
	if r.Deadline.IsZero() && r.Notice.Kind != interruption.Rebalance && r.Notice.Kind != interruption.ManualDrain {
		return Record{}, fmt.Errorf("decoding a Record: a %q must have a deadline", r.Notice.Kind)
	}
	return r.Record, nil
}
