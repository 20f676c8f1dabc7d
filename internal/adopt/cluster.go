package adopt

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// site is where the workloads run, as far as nodes tell.
type site struct {
	region           string
	zones            []string
	spot, onDemand   []string // instance types
	nSpot, nOnDemand int      // machines
	seen             bool     // there were nodes to look at
}

func siteOf(nodes []corev1.Node) site {
	s := site{
		region:   "us-east-1",
		zones:    []string{"us-east-1a", "us-east-1b", "us-east-1c"},
		spot:     []string{"m5.large", "m5a.large", "m5d.large", "m6i.large", "m6a.large"},
		onDemand: []string{"m5.large"},
		nSpot:    3, nOnDemand: 2,
	}
	var zones, spot, onDemand []string
	nSpot, nOnDemand := 0, 0
	for _, n := range nodes {
		zone, kind := n.Labels[corev1.LabelTopologyZone], n.Labels[corev1.LabelInstanceTypeStable]
		if region := n.Labels[corev1.LabelTopologyRegion]; region != "" {
			s.region = region
		}
		if zone != "" {
			zones = append(zones, zone)
		}
		capacity := strings.ToLower(cmp.Or(n.Labels["karpenter.sh/capacity-type"], n.Labels["eks.amazonaws.com/capacityType"]))
		if capacity == "spot" {
			nSpot++
			spot = append(spot, kind)
		} else {
			nOnDemand++
			onDemand = append(onDemand, kind)
		}
	}
	if len(zones) > 0 {
		s.zones, s.seen = distinct(zones), true
	}
	if types := distinct(spot); len(types) > 0 {
		s.spot, s.nSpot = types, nSpot
	}
	if types := distinct(onDemand); len(types) > 0 {
		s.onDemand, s.nOnDemand = types, nOnDemand
	}
	return s
}

func distinct(words []string) []string {
	out := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "" })
	slices.Sort(out)
	return slices.Compact(out)
}

func (s site) write(b *strings.Builder, namespace string) {
	note := ""
	if !s.seen {
		note = " # CHECK: there were no nodes to read it from"
	}
	fmt.Fprintf(b, `apiVersion: evenkeel.dev/v1alpha1
kind: Platform

cluster:
  provider: aws
  region: %s%s
  zones: [%s]%s
  name: %s
  namespace: %s

pools:
  - name: spot
    capacity: spot
    instanceTypes: [%s]
    size: {min: %d, desired: %d, max: %d}
    fallback: on-demand
  - name: on-demand
    capacity: on-demand
    instanceTypes: [%s]
    size: {min: %d, desired: %d, max: %d}
`, word(s.region), note, strings.Join(s.zones, ", "), note, word(clusterName(namespace)), word(namespace),
		strings.Join(s.spot, ", "), min(s.nSpot, 2), s.nSpot, 3*s.nSpot+1,
		strings.Join(s.onDemand, ", "), min(s.nOnDemand, 2), s.nOnDemand, 3*s.nOnDemand+3)
}

// clusterName makes a prefix of resource names from a namespace.
func clusterName(namespace string) string {
	return strings.Trim(namespace[:min(len(namespace), 32)], "-")
}
