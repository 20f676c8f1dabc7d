package cloud

import (
	"encoding/json"
	"fmt"
	"time"
)

// event is an EventBridge event, its fields in the order in which AWS writes
// them.
type event struct {
	Version    string      `json:"version"`
	ID         string      `json:"id"`
	DetailType string      `json:"detail-type"`
	Source     string      `json:"source"`
	Account    string      `json:"account"`
	Time       string      `json:"time"`
	Region     string      `json:"region"`
	Resources  []string    `json:"resources"`
	Detail     eventDetail `json:"detail"`
}

type eventDetail struct {
	Instance string `json:"instance-id"`
	Action   string `json:"instance-action,omitempty"`
	State    string `json:"state,omitempty"`
}

// SpotInterruptionWarning returns the event that EC2 sends 120 s before it
// terminates a spot instance. Like AWS it drops the fraction of the second, so a
// deadline computed from the event is up to a second early.
func SpotInterruptionWarning(id, region, account, instance string, at time.Time) []byte {
	return ec2Event("EC2 Spot Instance Interruption Warning", id, region, account, at,
		eventDetail{Instance: instance, Action: "terminate"})
}

// RebalanceRecommendation returns the event that says that a spot instance is at
// elevated risk.
func RebalanceRecommendation(id, region, account, instance string, at time.Time) []byte {
	return ec2Event("EC2 Instance Rebalance Recommendation", id, region, account, at, eventDetail{Instance: instance})
}

// StateChange returns the event that says that an instance is now in state, for
// example "shutting-down".
func StateChange(id, region, account, instance, state string, at time.Time) []byte {
	return ec2Event("EC2 Instance State-change Notification", id, region, account, at,
		eventDetail{Instance: instance, State: state})
}

func ec2Event(detailType, id, region, account string, at time.Time, detail eventDetail) []byte {
	text, err := json.Marshal(event{
		Version: "0", ID: id, DetailType: detailType, Source: "aws.ec2", Account: account,
		Time: at.UTC().Format(time.RFC3339), Region: region,
		Resources: []string{fmt.Sprintf("arn:aws:ec2:%s:%s:instance/%s", region, account, detail.Instance)},
		Detail:    detail,
	})
	if err != nil {
		panic(err) // unreachable: strings always marshal
	}
	return text
}
