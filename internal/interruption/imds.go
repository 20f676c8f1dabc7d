package interruption

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// maxMetadata is the largest answer of a metadata service that is read, in bytes.
const maxMetadata = 64 << 10

// DecodeSpotAction returns the notice in spot/instance-action of EC2's instance
// metadata. lead is as for [DecodeAWS].
//
// Some stand-ins for the service compute the time anew for each request. Whoever
// reads it again and again has to take a later time for the same notice.
func DecodeSpotAction(payload []byte, instance InstanceID, lead time.Duration, seen time.Time) (Notice, error) {
	var d struct {
		Action string `json:"action"`
		Time   string `json:"time"`
	}
	n := Notice{ID: "spot/instance-action", Cloud: AWS, Instance: instance, Kind: SpotInterruption, Seen: seen}
	if err := unmarshal(payload, &d); err != nil {
		return Notice{}, err
	}
	if d.Action == "" || len(d.Action) > maxAction {
		return Notice{}, excerpted(malformed("action", "missing or too long"), payload)
	}
	at, err := metadataTime("time", d.Time, payload, seen)
	if err != nil {
		return Notice{}, err
	}
	n.Action = d.Action
	// The service says when the machine goes, not when that was decided.
	n.Deadline, n.Sent = at, at.Add(-lead)
	if d.Action == "hibernate" {
		n.Deadline, n.Sent = seen, seen // hibernation begins at once
	}
	return n, nil
}

// DecodeRebalance returns the notice in events/recommendations/rebalance of EC2's
// instance metadata.
func DecodeRebalance(payload []byte, instance InstanceID, seen time.Time) (Notice, error) {
	var d struct {
		Time string `json:"noticeTime"`
	}
	if err := unmarshal(payload, &d); err != nil {
		return Notice{}, err
	}
	at, err := metadataTime("noticeTime", d.Time, payload, seen)
	if err != nil {
		return Notice{}, err
	}
	return Notice{
		ID: "events/recommendations/rebalance", Cloud: AWS, Instance: instance, Kind: Rebalance, Sent: at, Seen: seen,
	}, nil
}

// DecodeTargetState returns the notice in autoscaling/target-lifecycle-state of
// EC2's instance metadata: whether the machine's group wants it gone. The machine
// does not know which hook waits, so the notice has none.
func DecodeTargetState(payload []byte, instance InstanceID, seen time.Time) (Notice, error) {
	switch state := strings.TrimSpace(string(payload)); state {
	case "Terminated", "Warmed:Terminated":
		return Notice{
			ID: "autoscaling/target-lifecycle-state", Cloud: AWS, Instance: instance, Kind: LifecycleHook,
			Action: "terminate", Sent: seen, Seen: seen,
		}, nil
	case "":
		return Notice{}, excerpted(malformed("target-lifecycle-state", "empty"), payload)
	default:
		return Notice{}, fmt.Errorf("target lifecycle state %.60q: %w", state, ErrIgnored)
	}
}

// unmarshal reads JSON of bounded size.
func unmarshal(payload []byte, into any) error {
	if len(payload) > maxMetadata {
		return excerpted(malformed("payload", "%d bytes, more than %d", len(payload), maxMetadata), payload)
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return excerpted(malformed("payload", "%v", err), payload)
	}
	return nil
}

// metadataTime reads a time within a year of its reading.
func metadataTime(field, value string, payload []byte, seen time.Time) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, excerpted(malformed(field, "not an RFC 3339 time"), payload)
	}
	if at.Sub(seen).Abs() > maxAhead {
		return time.Time{}, excerpted(malformed(field, "cannot be right"), payload)
	}
	return at.UTC(), nil
}
