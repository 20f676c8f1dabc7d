package cloud

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ScalingGroup is an Auto Scaling group with a mixed instances policy, as far as a
// client reads and changes it. It launches nothing.
type ScalingGroup struct {
	Name          string
	Zones         []string
	Desired       int
	Template      string // ID of the launch template
	Base          int    // OnDemandBaseCapacity
	PercentAbove  int    // OnDemandPercentageAboveBaseCapacity
	SpotStrategy  string
	Overrides     []Override
	Tags          map[string]string
	InstancesOnly bool // it has a launch template, and no mixed instances policy
}

// Override is one instance type of a group.
type Override struct {
	Type   string `xml:"InstanceType"`
	Weight string `xml:"WeightedCapacity,omitempty"`
}

// SetGroup adds an Auto Scaling group, or replaces the one of the same name.
func (c *Cloud) SetGroup(g ScalingGroup) {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	c.fleet.groups[g.Name] = g
}

// Group returns an Auto Scaling group as it is set now.
func (c *Cloud) Group(name string) ScalingGroup {
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	return c.fleet.groups[name]
}

type groupTag struct {
	Resource string `xml:"ResourceId"`
	Type     string `xml:"ResourceType"`
	Key      string
	Value    string
	AtLaunch bool `xml:"PropagateAtLaunch"`
}

type launchTemplate struct {
	ID      string `xml:"LaunchTemplateId"`
	Version string
}

type mixedInstancesPolicy struct {
	Template     launchTemplate `xml:"LaunchTemplate>LaunchTemplateSpecification"`
	Overrides    []Override     `xml:"LaunchTemplate>Overrides>member"`
	Base         int            `xml:"InstancesDistribution>OnDemandBaseCapacity"`
	PercentAbove int            `xml:"InstancesDistribution>OnDemandPercentageAboveBaseCapacity"`
	OnDemand     string         `xml:"InstancesDistribution>OnDemandAllocationStrategy"`
	Spot         string         `xml:"InstancesDistribution>SpotAllocationStrategy"`
}

type scalingGroup struct {
	Name      string                `xml:"AutoScalingGroupName"`
	Mixed     *mixedInstancesPolicy `xml:"MixedInstancesPolicy"`
	MinSize   int
	MaxSize   int
	Desired   int        `xml:"DesiredCapacity"`
	Cooldown  int        `xml:"DefaultCooldown"`
	Zones     []string   `xml:"AvailabilityZones>member"`
	Health    string     `xml:"HealthCheckType"`
	CreatedAt string     `xml:"CreatedTime"`
	Tags      []groupTag `xml:"Tags>member"`
}

type describeGroupsResponse struct {
	XMLName   xml.Name       `xml:"DescribeAutoScalingGroupsResponse"`
	Namespace string         `xml:"xmlns,attr"`
	Groups    []scalingGroup `xml:"DescribeAutoScalingGroupsResult>AutoScalingGroups>member"`
	NextToken string         `xml:"DescribeAutoScalingGroupsResult>NextToken,omitempty"`
	RequestID string         `xml:"ResponseMetadata>RequestId"`
}

// describeAutoScalingGroups leaves out groups that are unknown, without an error, as
// the service does.
func (c *Cloud) describeAutoScalingGroups(form url.Values) (any, error) {
	names := list(form, "AutoScalingGroupNames.member")
	c.fleet.mu.Lock()
	known := maps.Clone(c.fleet.groups)
	c.fleet.mu.Unlock()
	var matching []scalingGroup
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		g := known[name]
		x := scalingGroup{Name: name, MaxSize: 2 * g.Desired, Desired: g.Desired, Cooldown: 300, Zones: g.Zones, Health: "EC2", CreatedAt: "2026-01-01T00:00:00Z"}
		for _, key := range slices.Sorted(maps.Keys(g.Tags)) {
			x.Tags = append(x.Tags, groupTag{name, "auto-scaling-group", key, g.Tags[key], true})
		}
		if !g.InstancesOnly {
			x.Mixed = &mixedInstancesPolicy{launchTemplate{g.Template, "$Latest"}, g.Overrides, g.Base, g.PercentAbove, "prioritized", g.SpotStrategy}
		}
		matching = append(matching, x)
	}
	part, next, err := page(matching, form.Get("MaxRecords"), form.Get("NextToken"))
	if err != nil {
		return nil, refuse("InvalidNextToken", "%v", err)
	}
	return describeGroupsResponse{Namespace: autoScalingNamespace, Groups: part, NextToken: next, RequestID: c.queues.newID()}, nil
}

type updateGroupResponse struct {
	XMLName   xml.Name `xml:"UpdateAutoScalingGroupResponse"`
	Namespace string   `xml:"xmlns,attr"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

// updateAutoScalingGroup replaces the mixed instances policy. What the request does
// not name is set to its default, as the service does.
func (c *Cloud) updateAutoScalingGroup(form url.Values) (any, error) {
	const policy = "MixedInstancesPolicy."
	name := form.Get("AutoScalingGroupName")
	c.fleet.mu.Lock()
	defer c.fleet.mu.Unlock()
	g, ok := c.fleet.groups[name]
	if !ok {
		return nil, refuse("ValidationError", "AutoScalingGroup name not found - AutoScalingGroup '%s' not found", name)
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(form)), func(k string) bool { return strings.HasPrefix(k, policy) }) {
		return nil, refuse("ValidationError", "only the mixed instances policy can be changed here")
	}
	number := func(key string, def int) (int, error) {
		text := form.Get(policy + "InstancesDistribution." + key)
		if text == "" {
			return def, nil
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return 0, refuse("ValidationError", "%s: %q is no number", key, text)
		}
		return n, nil
	}
	var err error
	if g.Base, err = number("OnDemandBaseCapacity", 0); err != nil {
		return nil, err
	}
	if g.PercentAbove, err = number("OnDemandPercentageAboveBaseCapacity", 100); err != nil {
		return nil, err
	}
	if g.SpotStrategy = form.Get(policy + "InstancesDistribution.SpotAllocationStrategy"); g.SpotStrategy == "" {
		g.SpotStrategy = "lowest-price"
	}
	if g.Template = form.Get(policy + "LaunchTemplate.LaunchTemplateSpecification.LaunchTemplateId"); g.Template == "" {
		return nil, refuse("ValidationError", "You must specify a launch template.")
	}
	g.Overrides = nil
	for n := 1; ; n++ {
		member := fmt.Sprintf("%sLaunchTemplate.Overrides.member.%d.", policy, n)
		if !form.Has(member + "InstanceType") {
			break
		}
		g.Overrides = append(g.Overrides, Override{form.Get(member + "InstanceType"), form.Get(member + "WeightedCapacity")})
	}
	if len(g.Overrides) > 40 {
		return nil, refuse("ValidationError", "more than 40 overrides")
	}
	c.fleet.groups[name] = g
	return updateGroupResponse{Namespace: autoScalingNamespace, RequestID: c.queues.newID()}, nil
}
