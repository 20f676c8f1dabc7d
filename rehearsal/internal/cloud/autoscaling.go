package cloud

import (
	"encoding/xml"
	"net/url"
	"slices"
	"time"
)

const autoScalingNamespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"

type groupInstance struct {
	Instance  string `xml:"InstanceId"`
	Group     string `xml:"AutoScalingGroupName"`
	Zone      string `xml:"AvailabilityZone"`
	Type      string `xml:"InstanceType"`
	State     string `xml:"LifecycleState"`
	Health    string `xml:"HealthStatus"`
	Protected bool   `xml:"ProtectedFromScaleIn"`
}

type describeGroupInstancesResponse struct {
	XMLName   xml.Name        `xml:"DescribeAutoScalingInstancesResponse"`
	Namespace string          `xml:"xmlns,attr"`
	Instances []groupInstance `xml:"DescribeAutoScalingInstancesResult>AutoScalingInstances>member"`
	NextToken string          `xml:"DescribeAutoScalingInstancesResult>NextToken,omitempty"`
	RequestID string          `xml:"ResponseMetadata>RequestId"`
}

// describeAutoScalingInstances leaves out instances that are unknown or in no
// group, without an error, as the service does.
func (c *Cloud) describeAutoScalingInstances(form url.Values) (any, error) {
	ids := list(form, "InstanceIds.member")
	var matching []groupInstance
	for _, i := range c.fleet.all() {
		if i.Group == "" || (len(ids) > 0 && !slices.Contains(ids, i.ID)) {
			continue
		}
		x := groupInstance{Instance: i.ID, Group: i.Group, Zone: i.Zone, Type: i.Type, Health: "HEALTHY"}
		switch i.State {
		case Pending:
			x.State = "Pending"
		case Running:
			x.State = "InService"
		case ShuttingDown:
			x.State = "Terminating"
		default:
			continue // a terminated instance has left its group
		}
		matching = append(matching, x)
	}
	part, next, err := page(matching, form.Get("MaxRecords"), form.Get("NextToken"))
	if err != nil {
		return nil, refuse("InvalidNextToken", "%v", err)
	}
	return describeGroupInstancesResponse{
		Namespace: autoScalingNamespace, Instances: part, NextToken: next, RequestID: c.queues.newID(),
	}, nil
}

type completeLifecycleActionResponse struct {
	XMLName   xml.Name `xml:"CompleteLifecycleActionResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Result    struct{} `xml:"CompleteLifecycleActionResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func (c *Cloud) completeLifecycleAction(form url.Values) (any, error) {
	result := form.Get("LifecycleActionResult")
	if result != "CONTINUE" && result != "ABANDON" {
		return nil, refuse("ValidationError", "The lifecycle action result must be CONTINUE or ABANDON.")
	}
	err := c.recordLifecycle(form)
	return completeLifecycleActionResponse{Namespace: autoScalingNamespace, RequestID: c.queues.newID()}, err
}

type recordHeartbeatResponse struct {
	XMLName   xml.Name `xml:"RecordLifecycleActionHeartbeatResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Result    struct{} `xml:"RecordLifecycleActionHeartbeatResult"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func (c *Cloud) recordLifecycleActionHeartbeat(form url.Values) (any, error) {
	err := c.recordLifecycle(form)
	return recordHeartbeatResponse{Namespace: autoScalingNamespace, RequestID: c.queues.newID()}, err
}

// recordLifecycle keeps a call about an instance of the group; about any other
// there is no lifecycle action to be active.
func (c *Cloud) recordLifecycle(form url.Values) error {
	call := LifecycleCall{
		Action: form.Get("Action"), Hook: form.Get("LifecycleHookName"), Group: form.Get("AutoScalingGroupName"),
		Instance: form.Get("InstanceId"), Token: form.Get("LifecycleActionToken"), Result: form.Get("LifecycleActionResult"),
		At: time.Now(),
	}
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	if call.Instance != "" {
		if i, ok := c.fleet.instances[call.Instance]; !ok || i.Group != call.Group {
			return refuse("ValidationError", "No active Lifecycle Action found with instance ID %s", call.Instance)
		}
	}
	c.fleet.calls = append(c.fleet.calls, call)
	return nil
}
