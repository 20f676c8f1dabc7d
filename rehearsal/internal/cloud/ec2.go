package cloud

import (
	"encoding/xml"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

type ec2State struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func stateXML(s State) ec2State { return ec2State{s.code(), string(s)} }

type ec2Tag struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type ec2Instance struct {
	ID        string   `xml:"instanceId"`
	Image     string   `xml:"imageId"`
	State     ec2State `xml:"instanceState"`
	Type      string   `xml:"instanceType"`
	Launched  string   `xml:"launchTime"`
	Zone      string   `xml:"placement>availabilityZone"`
	PrivateIP string   `xml:"privateIpAddress,omitempty"`
	Tags      []ec2Tag `xml:"tagSet>item"`
	Lifecycle string   `xml:"instanceLifecycle,omitempty"` // absent for on demand
}

type ec2Reservation struct {
	ID        string        `xml:"reservationId"`
	Owner     string        `xml:"ownerId"`
	Instances []ec2Instance `xml:"instancesSet>item"`
}

type describeInstancesResponse struct {
	XMLName      xml.Name         `xml:"DescribeInstancesResponse"`
	Namespace    string           `xml:"xmlns,attr"`
	RequestID    string           `xml:"requestId"`
	Reservations []ec2Reservation `xml:"reservationSet>item"`
	NextToken    string           `xml:"nextToken,omitempty"`
}

func (c *Cloud) describeInstances(form url.Values) (any, error) {
	ids := list(form, "InstanceId")
	for _, id := range ids {
		if err := c.checkInstance(id); err != nil {
			return nil, err
		}
	}
	filters, err := parseFilters(form)
	if err != nil {
		return nil, err
	}
	var matching []Instance
	for _, i := range c.fleet.all() {
		if (len(ids) == 0 || slices.Contains(ids, i.ID)) && matchesAll(i, filters) {
			matching = append(matching, i)
		}
	}
	part, next, err := page(matching, form.Get("MaxResults"), form.Get("NextToken"))
	if err != nil {
		return nil, invalid("%v", err)
	}
	out := describeInstancesResponse{Namespace: ec2Namespace, RequestID: c.queues.newID(), NextToken: next}
	for _, i := range part {
		out.Reservations = append(out.Reservations, ec2Reservation{
			ID: "r-" + strings.TrimPrefix(i.ID, "i-"), Owner: c.cfg.Account, Instances: []ec2Instance{i.xml()},
		})
	}
	return out, nil
}

func (i Instance) xml() ec2Instance {
	x := ec2Instance{
		ID: i.ID, Image: "ami-0123456789abcdef0", State: stateXML(i.State), Type: i.Type, Zone: i.Zone, PrivateIP: i.PrivateIP,
		Launched: i.Launched.UTC().Format(time.RFC3339),
	}
	if i.Spot {
		x.Lifecycle = "spot"
	}
	for _, key := range slices.Sorted(maps.Keys(i.Tags)) {
		x.Tags = append(x.Tags, ec2Tag{key, i.Tags[key]})
	}
	return x
}

func (c *Cloud) checkInstance(id string) error {
	if !strings.HasPrefix(id, "i-") {
		return refuse("InvalidInstanceID.Malformed", "Invalid id: %q", id)
	}
	if _, ok := c.fleet.get(id); !ok {
		return refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return nil
}

// filter is one filter of a description: an instance passes if any of its values
// for that name is among the wanted ones.
type filter struct {
	values func(Instance) []string
	wanted []string
}

// parseFilters reads Filter.1.Name, Filter.1.Value.1 and so on. Wildcards are
// refused rather than compared as letters.
func parseFilters(form url.Values) ([]filter, error) {
	var out []filter
	for n := 1; ; n++ {
		prefix := "Filter." + strconv.Itoa(n)
		name := form.Get(prefix + ".Name")
		if name == "" {
			return out, nil
		}
		f := filter{values: filterValues(name), wanted: list(form, prefix+".Value")}
		if f.values == nil {
			return nil, invalid("The filter '%s' is invalid", name)
		}
		for _, v := range f.wanted {
			if strings.ContainsAny(v, "*?") {
				return nil, invalid("The filter '%s' has the wildcard '%s', which is not served", name, v)
			}
		}
		out = append(out, f)
	}
}

// filterValues returns how to read what a filter compares, nil for a filter that
// is not served.
func filterValues(name string) func(Instance) []string {
	switch name {
	case "instance-id":
		return func(i Instance) []string { return []string{i.ID} }
	case "instance-state-name":
		return func(i Instance) []string { return []string{string(i.State)} }
	case "instance-type":
		return func(i Instance) []string { return []string{i.Type} }
	case "availability-zone":
		return func(i Instance) []string { return []string{i.Zone} }
	case "instance-lifecycle":
		return func(i Instance) []string { return []string{i.xml().Lifecycle} }
	case "private-ip-address":
		return func(i Instance) []string { return []string{i.PrivateIP} }
	case "tag-key":
		return func(i Instance) []string { return slices.Collect(maps.Keys(i.Tags)) }
	}
	if key, ok := strings.CutPrefix(name, "tag:"); ok {
		return func(i Instance) []string {
			if value, ok := i.Tags[key]; ok {
				return []string{value}
			}
			return nil
		}
	}
	return nil
}

func matchesAll(i Instance, filters []filter) bool {
	for _, f := range filters {
		if !slices.ContainsFunc(f.values(i), func(v string) bool { return slices.Contains(f.wanted, v) }) {
			return false
		}
	}
	return true
}

type ec2StateChange struct {
	ID       string   `xml:"instanceId"`
	Current  ec2State `xml:"currentState"`
	Previous ec2State `xml:"previousState"`
}

type terminateInstancesResponse struct {
	XMLName   xml.Name         `xml:"TerminateInstancesResponse"`
	Namespace string           `xml:"xmlns,attr"`
	RequestID string           `xml:"requestId"`
	Changes   []ec2StateChange `xml:"instancesSet>item"`
}

// terminateInstances refuses the whole request if any instance is unknown, as
// EC2 does.
func (c *Cloud) terminateInstances(form url.Values) (any, error) {
	ids := list(form, "InstanceId")
	for _, id := range ids {
		if err := c.checkInstance(id); err != nil {
			return nil, err
		}
	}
	out := terminateInstancesResponse{Namespace: ec2Namespace, RequestID: c.queues.newID()}
	for _, id := range ids {
		from, _ := c.fleet.move(id, ShuttingDown)
		to := from
		if from.code() < ShuttingDown.code() {
			to = ShuttingDown
			if c.cfg.OnTerminate != nil {
				c.cfg.OnTerminate(id)
			}
		}
		out.Changes = append(out.Changes, ec2StateChange{id, stateXML(to), stateXML(from)})
	}
	return out, nil
}
