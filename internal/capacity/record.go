package capacity

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Record is the durable state of what was changed of a group. It is stored before
// the change is made, by compare-and-swap, and marked afterwards.
type Record struct {
	// Was is how the group was set when it was found.
	Was Settings `json:"was"`
	// From is how it was set before the change that is under way or was last made,
	// and Want how it is to be.
	From Settings `json:"from"`
	Want Settings `json:"want"`
	// Made says that it has been seen set to Want.
	Made   bool      `json:"made,omitempty"`
	Reason Reason    `json:"reason"`
	At     time.Time `json:"at"` // when Want was stored
	// Changes are the times of the last changes, the latest last.
	Changes []time.Time `json:"changes,omitempty"`
	// Left is when a person's change was found. From then on the group is left alone,
	// until somebody takes the Record away.
	Left time.Time `json:"left,omitzero"`
	// Holds are the places that are avoided.
	Holds []Hold `json:"holds,omitempty"`
}

// Hold says that a place is avoided.
type Hold struct {
	Place
	Until time.Time `json:"until"`
	Times int       `json:"times"` // it was reclaimed within a day
	Last  time.Time `json:"last"`
}

type recordJSON struct {
	Version int `json:"version"`
	Record
}

const recordVersion = 1

// Encode returns the stored form.
func (r Record) Encode() string {
	b, err := json.Marshal(recordJSON{recordVersion, r})
	if err != nil {
		panic(err) // cannot happen: every field of a Record can be marshalled
	}
	return string(b)
}

// DecodeRecord reads the stored form.
func DecodeRecord(value string) (Record, error) {
	var r recordJSON
	if err := json.Unmarshal([]byte(value), &r); err != nil {
		return Record{}, fmt.Errorf("decoding a capacity Record: %w", err)
	}
	if r.Version != recordVersion {
		return Record{}, fmt.Errorf("decoding a capacity Record: version %d is not %d: it was written by another release of Evenkeel", r.Version, recordVersion)
	}
	for _, s := range []Settings{r.Was, r.From, r.Want} {
		if s.Weight < 0 || s.Weight > 100 || s.Base < 0 {
			return Record{}, errors.New("decoding a capacity Record: a weight is not 0 to 100, or a base is negative")
		}
	}
	return r.Record, nil
}

// recent returns the changes of the last hour.
func (r Record) recent(now time.Time) []time.Time {
	var out []time.Time
	for _, at := range r.Changes {
		if now.Sub(at) < time.Hour {
			out = append(out, at)
		}
	}
	return out
}
