package interruption

import (
	"encoding/json"
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

// maxAhead is how far ahead of its event a machine's end may be announced. AWS
// Health announces weeks ahead, and never years.
const maxAhead = 366 * 24 * time.Hour

// maxEntities bounds the notices of one event. AWS Health puts a hundred entities
// on a page.
const maxEntities = 1000

// envelope is what EventBridge puts around every event. Beside it stand the
// fields by which two other forms are known: an SNS notification, since a rule may
// send to a topic that a queue subscribes to, and what an Auto Scaling group sends
// by itself to the target of a lifecycle hook.
type envelope struct {
	ID         string          `json:"id"`
	Source     string          `json:"source"`
	DetailType string          `json:"detail-type"`
	Time       string          `json:"time"`
	Detail     json.RawMessage `json:"detail"`

	Type    string `json:"Type"`
	Message string `json:"Message"`

	Event               string `json:"Event"`
	LifecycleTransition string `json:"LifecycleTransition"`
	RequestID           string `json:"RequestId"`
}

// eventKind is how EventBridge tells events apart.
type eventKind struct{ source, detailType string }

// reader reads the detail of one kind of event. It gets a Notice in which all that
// the envelope says is set.
type reader func(n Notice, detail json.RawMessage, lead time.Duration) ([]Notice, error)

// awsEvents has one row for each event that is acted on.
var awsEvents = map[eventKind]reader{
	{"aws.ec2", "EC2 Spot Instance Interruption Warning"}:                 oneInstance(readSpotInterruption),
	{"aws.ec2", "EC2 Instance Rebalance Recommendation"}:                  oneInstance(readRebalance),
	{"aws.ec2", "EC2 Instance State-change Notification"}:                 oneInstance(readStateChange),
	{"aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"}: oneInstance(readReservation),
	{"aws.health", "AWS Health Event"}:                                    readHealth,
	{"aws.autoscaling", terminateAction}:                                  readLifecycleHook,
}

// terminateAction is the detail-type of a lifecycle hook that holds a machine up
// on its way out.
const terminateAction = "EC2 Instance-terminate Lifecycle Action"

// DecodeAWS returns the notices in an EventBridge event, bare or inside an SNS
// notification, or in what an Auto Scaling group sends to the target of a
// lifecycle hook. lead is the time between an interruption warning and the end of
// the machine (120 s on EC2), seen is when the payload was read.
//
// An event that announces nothing to act on gives an error that matches
// [ErrIgnored]; anything else that gives no notice is a [*MalformedError].
func DecodeAWS(payload []byte, lead time.Duration, seen time.Time) ([]Notice, error) {
	notices, err := decodeAWS(payload, lead, seen)
	return notices, excerpted(err, payload)
}

func decodeAWS(payload []byte, lead time.Duration, seen time.Time) ([]Notice, error) {
	if len(payload) > maxPayload {
		return nil, malformed("payload", "%d bytes, more than %d", len(payload), maxPayload)
	}
	event, err := decodeEnvelope(payload)
	if err != nil {
		return nil, err
	}
	read := awsEvents[eventKind{event.Source, event.DetailType}]
	if read == nil {
		return nil, fmt.Errorf("%.60q from %.60q: %w", event.DetailType, event.Source, ErrIgnored)
	}
	n := Notice{ID: event.ID, Cloud: AWS, Seen: seen}
	if len(n.ID) > maxID {
		return nil, malformed("id", "longer than %d bytes", maxID)
	}
	n.Sent, err = time.Parse(time.RFC3339, event.Time)
	if err != nil {
		return nil, malformed("time", "not an RFC 3339 time")
	}
	n.Sent = n.Sent.UTC()
	if n.Sent.Unix() <= 0 || n.Sent.Sub(seen) > maxClockLead {
		return nil, malformed("time", "%s cannot be right", event.Time)
	}
	return read(n, event.Detail, lead)
}

// decodeEnvelope returns the event of a payload, out of its SNS notification if
// it came in one.
func decodeEnvelope(payload []byte) (envelope, error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, malformed("event", "%v", err)
	}
	if e.Type == "Notification" && e.Source == "" {
		payload = []byte(e.Message)
		e = envelope{}
		if err := json.Unmarshal(payload, &e); err != nil {
			return e, malformed("Message", "%v", err)
		}
	}
	switch {
	case e.Source != "":
	case e.Event == "autoscaling:TEST_NOTIFICATION":
		return e, fmt.Errorf("the test that a group sends to a new target: %w", ErrIgnored)
	case e.LifecycleTransition == "autoscaling:EC2_INSTANCE_TERMINATING":
		// The fields of EventBridge's detail stand at the top here.
		return envelope{ID: e.RequestID, Source: "aws.autoscaling", DetailType: terminateAction, Time: e.Time, Detail: payload}, nil
	case e.LifecycleTransition != "":
		return e, fmt.Errorf("lifecycle transition %.60q: %w", e.LifecycleTransition, ErrIgnored)
	default:
		return e, malformed("source", "missing")
	}
	if e.DetailType == "" {
		return e, malformed("detail-type", "missing")
	}
	return e, nil
}

// ec2Detail holds the fields of the EC2 events that are understood.
type ec2Detail struct {
	Instance    string `json:"instance-id"`
	Action      string `json:"instance-action"`
	State       string `json:"state"`
	Termination string `json:"instance-termination-time"`
}

// oneInstance reads an EC2 event, which is about one instance each.
func oneInstance(read func(*Notice, ec2Detail, time.Duration) error) reader {
	return func(n Notice, detail json.RawMessage, lead time.Duration) ([]Notice, error) {
		var d ec2Detail
		if err := json.Unmarshal(detail, &d); err != nil {
			return nil, malformed("detail", "%v", err)
		}
		if !validInstanceID(d.Instance) {
			return nil, malformed("detail.instance-id", "not an instance ID")
		}
		n.Instance = InstanceID(d.Instance)
		if err := read(&n, d, lead); err != nil {
			return nil, err
		}
		return []Notice{n}, nil
	}
}

// readSpotInterruption trusts an action that it does not know to give the usual
// lead: draining a node in vain costs less than losing it unannounced.
func readSpotInterruption(n *Notice, d ec2Detail, lead time.Duration) error {
	if d.Action == "" || len(d.Action) > maxAction {
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

// readReservation announces the end of an instance in an interruptible capacity
// reservation (two minutes ahead), or in a capacity block. The event says when; if
// what it says cannot be used, the lead of a spot instance is the same.
func readReservation(n *Notice, d ec2Detail, lead time.Duration) error {
	if d.Action == "" || len(d.Action) > maxAction {
		return malformed("detail.instance-action", "missing or too long")
	}
	n.Kind = CapacityReservation
	n.Action = d.Action
	n.Deadline = n.Sent.Add(lead)
	if at, err := time.Parse(time.RFC3339, d.Termination); err == nil && !at.Before(n.Sent) && at.Sub(n.Sent) <= maxAhead {
		n.Deadline = at.UTC()
	}
	return nil
}

// healthDetail is the part of an AWS Health event that is understood.
type healthDetail struct {
	ARN       string `json:"eventArn"`
	Service   string `json:"service"`
	Code      string `json:"eventTypeCode"`
	Category  string `json:"eventTypeCategory"`
	Status    string `json:"statusCode"`
	StartTime string `json:"startTime"`
	Entities  []struct {
		Value string `json:"entityValue"`
	} `json:"affectedEntities"`
}

// readHealth reads a scheduled change of EC2: one notice for each instance that is
// affected. The notices' ID is that of the change, not of the message, since a
// change that is called off or over is told in another message.
func readHealth(n Notice, detail json.RawMessage, _ time.Duration) ([]Notice, error) {
	var d healthDetail
	if err := json.Unmarshal(detail, &d); err != nil {
		return nil, malformed("detail", "%v", err)
	}
	switch {
	case d.Service != "EC2":
		return nil, fmt.Errorf("health of service %.60q: %w", d.Service, ErrIgnored)
	case d.Category != "scheduledChange":
		return nil, fmt.Errorf("health event of category %.60q: %w", d.Category, ErrIgnored)
	case len(d.Entities) > maxEntities:
		return nil, malformed("detail.affectedEntities", "%d entities, more than %d", len(d.Entities), maxEntities)
	}
	if id := d.ARN[strings.LastIndexByte(d.ARN, '/')+1:]; id != "" && len(id) <= maxID {
		n.ID = id
	}
	if d.Status == "closed" {
		n.Kind = Cancelled
	} else {
		n.Kind = ScheduledChange
		n.Action = healthAction(d.Code)
		start, err := parseHealthTime(d.StartTime)
		if err != nil {
			return nil, malformed("detail.startTime", "not a time")
		}
		if start.Unix() <= 0 || start.Sub(n.Sent) > maxAhead {
			return nil, malformed("detail.startTime", "cannot be right")
		}
		n.Deadline = start.UTC()
	}

	var notices []Notice
	seen := make(map[InstanceID]bool)
	for _, e := range d.Entities {
		// An instance is named by its ID, and in some events by its ARN.
		id := e.Value[strings.LastIndexByte(e.Value, '/')+1:]
		if !validInstanceID(id) || seen[InstanceID(id)] {
			continue // a volume, a host, the account as a whole; or said twice
		}
		seen[InstanceID(id)] = true
		n.Instance = InstanceID(id)
		notices = append(notices, n)
	}
	if len(notices) == 0 {
		return nil, fmt.Errorf("%.60q, which affects no instance: %w", d.Code, ErrIgnored)
	}
	return notices, nil
}

// parseHealthTime reads "Sat, 05 Jun 2016 15:10:09 GMT", as the events have it,
// and RFC 3339.
func parseHealthTime(s string) (time.Time, error) {
	if at, err := time.Parse(time.RFC1123, s); err == nil {
		return at, nil
	}
	return time.Parse(time.RFC3339, s)
}

// healthAction is what happens to a machine by an event type code such as
// AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED.
func healthAction(code string) string {
	for _, c := range []struct{ part, action string }{
		{"REBOOT", "reboot"},
		{"RETIREMENT", "terminate"},
		{"TERMINATION", "terminate"},
		{"STOP", "stop"},
	} {
		if strings.Contains(code, c.part) {
			return c.action
		}
	}
	return "maintenance"
}

// hookDetail is the part of a lifecycle action that is understood.
type hookDetail struct {
	Group    string `json:"AutoScalingGroupName"`
	Hook     string `json:"LifecycleHookName"`
	Token    string `json:"LifecycleActionToken"`
	Instance string `json:"EC2InstanceId"`
}

// managedHook is the hook that EKS gives to the groups of its managed node groups.
// EKS answers it itself, when it has drained the node.
const managedHook = "Terminate-LC-Hook"

// readLifecycleHook gives no deadline: how long the hook waits is not in its event,
// and can be stretched.
func readLifecycleHook(n Notice, detail json.RawMessage, lead time.Duration) ([]Notice, error) {
	var d hookDetail
	if err := json.Unmarshal(detail, &d); err != nil {
		return nil, malformed("detail", "%v", err)
	}
	switch {
	case !validInstanceID(d.Instance):
		return nil, malformed("EC2InstanceId", "not an instance ID")
	case d.Group == "" || len(d.Group) > 255:
		return nil, malformed("AutoScalingGroupName", "missing or too long")
	case d.Hook == "" || len(d.Hook) > 255:
		return nil, malformed("LifecycleHookName", "missing or too long")
	case len(d.Token) > maxID:
		return nil, malformed("LifecycleActionToken", "too long")
	}
	n.Kind = LifecycleHook
	n.Action = "terminate"
	n.Instance = InstanceID(d.Instance)
	if d.Hook != managedHook || !strings.HasPrefix(d.Group, "eks-") {
		n.Hook = &Hook{Group: d.Group, Name: d.Hook, Token: d.Token, Instance: n.Instance}
	}
	return []Notice{n}, nil
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
