package price

import "cmp"

// A Machine is what the price of a node depends on.
type Machine struct {
	InstanceType, Region, Zone string
	Capacity                   Capacity
}

// MachineOf reads a machine out of a Kubernetes node's labels. It knows the ways
// in which the clouds and their provisioners say "spot"; a node of which nobody
// says so is on demand.
func MachineOf(labels map[string]string) Machine {
	m := Machine{
		InstanceType: cmp.Or(labels["node.kubernetes.io/instance-type"], labels["beta.kubernetes.io/instance-type"]),
		Region:       labels["topology.kubernetes.io/region"],
		Zone:         labels["topology.kubernetes.io/zone"],
		Capacity:     OnDemand,
	}
	if region := RegionOf(m.Zone); m.Region == "" && region != m.Zone {
		m.Region = region
	}
	for label, value := range spotLabels {
		if labels[label] == value {
			m.Capacity = Spot
		}
	}
	return m
}

var spotLabels = map[string]string{
	"karpenter.sh/capacity-type":            "spot",
	"eks.amazonaws.com/capacityType":        "SPOT",
	"cloud.google.com/gke-spot":             "true",
	"cloud.google.com/gke-preemptible":      "true",
	"kubernetes.azure.com/scalesetpriority": "spot",
	"node.kubernetes.io/lifecycle":          "spot",
}
