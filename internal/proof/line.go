// Package proof keeps and reads the proof record: one line of JSON for each
// interruption, with its notice, each step with its time and reason, what was
// lost, and how it ended. It is pure: a Ledger turns events into Lines, Read turns
// lines back, and Summarize says what they amount to. Package journal writes them.
package proof

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// form marks a line as one of ours, and says of which version: a file may hold
// other lines too, such as a container's log.
const form = "evenkeel-interruption/1"

// Outcome is how an interruption ended.
type Outcome string

// The outcomes.
const (
	Emptied   Outcome = "emptied"   // every pod that had to move had left before the deadline
	Missed    Outcome = "missed"    // the deadline came first
	Cancelled Outcome = "cancelled" // the notice was taken back
	Expired   Outcome = "expired"   // the machine outlived its deadline and was given back
	Gone      Outcome = "gone"      // the node left the cluster before its deadline with pods on it
	// Unfinished is what a controller that stops knows so far. The one that goes on
	// writes a line of its own; Read puts the two together.
	Unfinished Outcome = "unfinished"
)

// Line is the proof record of one interruption.
type Line struct {
	Form         string `json:"form"`
	Interruption string `json:"interruption"` // the same in log lines, events and notifications
	Cluster      string `json:"cluster,omitempty"`
	Node         string `json:"node"`
	Pool         string `json:"pool,omitempty"`
	Zone         string `json:"zone,omitempty"`
	InstanceType string `json:"instanceType,omitempty"`

	Notice   interruption.Notice `json:"notice"` // the one that set the deadline
	Deadline time.Time           `json:"deadline,omitzero"`
	// Cordoned is when the Record was stored and with it the cordon.
	Cordoned time.Time `json:"cordoned,omitzero"`
	Emptied  time.Time `json:"emptied,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`

	Outcome Outcome `json:"outcome"`
	Left    int     `json:"podsLeft,omitempty"` // that had to move and were still there at the deadline
	Lost    float64 `json:"lostReadyPodSeconds"`
	// ResumedAt is set when a controller went on with what another one had begun.
	// What that one did before is known only as far as the Record tells: when it was
	// stored, and when the node was empty.
	ResumedAt time.Time `json:"resumedAt,omitzero"`
	Steps     []Step    `json:"steps"`
	Omitted   int       `json:"stepsOmitted,omitempty"` // beyond MaxSteps
}

// MaxSteps bounds the steps of one Line.
const MaxSteps = 1000

// Step is one thing that happened.
type Step struct {
	At      time.Time       `json:"at"`
	Event   drain.EventKind `json:"event"`
	Reason  drain.Reason    `json:"reason,omitempty"`
	Pod     string          `json:"pod,omitempty"` // namespace/name
	Service string          `json:"service,omitempty"`
	Effect  drain.Kind      `json:"effect,omitempty"`
	Outcome drain.Outcome   `json:"outcome,omitempty"`
	Budget  string          `json:"budget,omitempty"`
}

// Encode returns the Line as one line of JSON, with its end.
func (l Line) Encode() []byte {
	l.Form = form
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // cannot happen: every field of a Line can be marshalled
	}
	return append(b, '\n')
}

// ErrForeign is the error of a line that is not of a proof record.
var ErrForeign = errors.New("not a line of a proof record")

// Decode reads one line. It returns ErrForeign for one that is none of ours.
func Decode(data []byte) (Line, error) {
	var mark struct {
		Form string `json:"form"`
	}
	if json.Unmarshal(data, &mark) != nil || mark.Form == "" {
		return Line{}, ErrForeign
	}
	if mark.Form != form {
		return Line{}, fmt.Errorf("a line has the form %q; this release reads %q", mark.Form, form)
	}
	var l Line
	if err := json.Unmarshal(data, &l); err != nil {
		return Line{}, fmt.Errorf("decoding a line: %w", err)
	}
	switch l.Outcome {
	case Emptied, Missed, Cancelled, Expired, Gone, Unfinished:
	default:
		return Line{}, fmt.Errorf("decoding a line: unknown outcome %q", l.Outcome)
	}
	if l.Interruption == "" || l.Node == "" {
		return Line{}, errors.New("decoding a line: interruption and node must be set")
	}
	if l.Lost < 0 || l.Left < 0 || l.Omitted < 0 {
		return Line{}, errors.New("decoding a line: a count is negative")
	}
	return l, nil
}
