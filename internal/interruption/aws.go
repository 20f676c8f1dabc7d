package interruption

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxPayload is the largest message that SQS carries, in bytes.
const maxPayload = 1 << 20

// maxClockLead is how far ahead of its reading an event may claim to have
// happened. Clocks differ by seconds; a day says that the time is nonsense, and
// a deadline computed from it would keep a node cordoned for as long.
const maxClockLead = 24 * time.Hour

// envelope is what EventBridge puts around every event, with the two fields of
// an SNS notification beside them: a rule may send to a topic that a queue
// subscribes to.
type envelope struct {
	ID         string          `json:"id"`
	Source     string          `json:"source"`
	DetailType string          `json:"detail-type"`
	Time       string          `json:"time"`
	Detail     json.RawMessage `json:"detail"`

	Type    string `json:"Type"`
	Message string `json:"Message"`
}

// ec2Detail holds the fields of the three EC2 events that are understood.
type ec2Detail struct {
	Instance string `json:"instance-id"`
	Action   string `json:"instance-action"`
	State    string `json:"state"`
}

// eventKind is how EventBridge tells events apart.
type eventKind struct{ source, detailType string }

// DecodeAWS returns the notices in an EventBridge event, bare or inside an SNS
// notification. lead is the time between an interruption warning and the end of
// the machine (120 s on EC2), seen is when the payload was read.
//
// An event that announces nothing to act on gives an error that matches
// [ErrIgnored]; anything else that gives no notice is a [*MalformedError].
func DecodeAWS(payload []byte, lead time.Duration, seen time.Time) ([]Notice, error) {
	notices, err := decodeAWS(payload, lead, seen)
	if m, ok := errors.AsType[*MalformedError](err); ok {
		m.Excerpt = fmt.Sprintf("%.*q", maxExcerpt, payload)
	}
	return notices, err
}

func decodeAWS(payload []byte, lead time.Duration, seen time.Time) ([]Notice, error) {
	if len(payload) > maxPayload {
		return nil, malformed("payload", "%d bytes, more than %d", len(payload), maxPayload)
	}
	event, err := decodeEnvelope(payload)
	if err != nil {
		return nil, err
	}

	// One row per event that is acted on.
	var read func(*Notice, ec2Detail, time.Duration) error
	switch (eventKind{event.Source, event.DetailType}) {
	case eventKind{"aws.ec2", "EC2 Spot Instance Interruption Warning"}:
		read = readSpotInterruption
	case eventKind{"aws.ec2", "EC2 Instance Rebalance Recommendation"}:
		read = readRebalance
	case eventKind{"aws.ec2", "EC2 Instance State-change Notification"}:
		read = readStateChange
	default:
		return nil, fmt.Errorf("%.60q from %.60q: %w", event.DetailType, event.Source, ErrIgnored)
	}

	n := Notice{ID: event.ID, Cloud: AWS, Seen: seen}
	if len(n.ID) > 128 {
		return nil, malformed("id", "longer than 128 bytes")
	}
	n.Sent, err = time.Parse(time.RFC3339, event.Time)
	if err != nil {
		return nil, malformed("time", "not an RFC 3339 time")
	}
	n.Sent = n.Sent.UTC()
	if n.Sent.Unix() <= 0 || n.Sent.Sub(seen) > maxClockLead {
		return nil, malformed("time", "%s cannot be right", event.Time)
	}
	var detail ec2Detail
	if err := json.Unmarshal(event.Detail, &detail); err != nil {
		return nil, malformed("detail", "%v", err)
	}
	if !validInstanceID(detail.Instance) {
		return nil, malformed("detail.instance-id", "not an instance ID")
	}
	n.Instance = InstanceID(detail.Instance)
	if err := read(&n, detail, lead); err != nil {
		return nil, err
	}
	return []Notice{n}, nil
}

// decodeEnvelope returns the event of a payload, out of its SNS notification if
// it came in one.
func decodeEnvelope(payload []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, malformed("event", "%v", err)
	}
	if e.Type == "Notification" && e.Source == "" {
		inner := e.Message
		e = envelope{}
		if err := json.Unmarshal([]byte(inner), &e); err != nil {
			return e, malformed("Message", "%v", err)
		}
	}
	if e.Source == "" {
		return e, malformed("source", "missing")
	}
	if e.DetailType == "" {
		return e, malformed("detail-type", "missing")
	}
	return e, nil
}

// readSpotInterruption trusts an action that it does not know to give the usual
// lead: draining a node in vain costs less than losing it unannounced.
func readSpotInterruption(n *Notice, d ec2Detail, lead time.Duration) error {
	if d.Action == "" || len(d.Action) > 64 {
		return malformed("detail.instance-action", "missing or too long")
	}
	n.Kind = SpotInterruption
	n.Action = d.Action
	n.Deadline = n.Sent.Add(lead)
	if d.Action == "hibernate" {
		n.Deadline = n.Sent // hibernation begins with the warning
	}
	return nil
}

func readRebalance(n *Notice, _ ec2Detail, _ time.Duration) error {
	n.Kind = Rebalance
	return nil
}

// readStateChange announces machines that go or have gone: by then the operating
// system is shutting down, so the deadline is the event itself.
func readStateChange(n *Notice, d ec2Detail, _ time.Duration) error {
	switch d.State {
	case "shutting-down", "terminated":
		n.Action = "terminate"
	case "stopping", "stopped":
		n.Action = "stop"
	case "":
		return malformed("detail.state", "missing")
	default:
		return fmt.Errorf("instance state %.60q: %w", d.State, ErrIgnored)
	}
	n.Kind = StateChange
	n.Deadline = n.Sent
	return nil
}

// validInstanceID accepts "i-" and up to 64 lower-case letters and digits. EC2
// uses 8 or 17 hexadecimal digits; stand-ins are freer.
func validInstanceID(id string) bool {
	rest, ok := strings.CutPrefix(id, "i-")
	if !ok || rest == "" || len(rest) > 64 {
		return false
	}
	for _, c := range []byte(rest) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
