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
	// Deadline is when the machine goes.
	Deadline time.Time `json:"deadline"`
	// Cordoned says that Evenkeel made the node unschedulable. A node that a person
	// had cordoned before is not ours to uncordon.
	Cordoned bool `json:"cordoned,omitempty"`
	// Stored is when this Record was first written.
	Stored time.Time `json:"stored"`
	// Emptied is when the last pod that had to move had left. Zero until then.
	Emptied time.Time `json:"emptied,omitzero"`
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
	if r.Deadline.IsZero() || r.Notice.Instance == "" {
		return Record{}, fmt.Errorf("decoding a Record: deadline and notice.instance must be set")
	}
	return r.Record, nil
}
