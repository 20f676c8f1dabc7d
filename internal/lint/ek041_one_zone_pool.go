package lint

import (
	"slices"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func oneZonePool() Rule {
	return Rule{
		ID:       "EK041",
		Title:    "spot pool in one zone",
		Severity: Warning,
		Why: `Spot instances of a zone are taken back together. A pool in one zone loses all of its nodes at once, and can buy
new ones only where they have just run out.

The rule is silent where another pool in another zone takes the same pods: one node group for each zone is good practice.`,
		Remedy: "Give the pool several zones (or subnets in several zones), or add a like pool in another zone.",
		Bad: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: spot}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [eu-west-1a]} # EK041
`,
		Good: `apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {name: spot}
spec:
  template:
    spec:
      nodeClassRef: {group: karpenter.k8s.aws, kind: EC2NodeClass, name: default}
      requirements:
        - {key: karpenter.sh/capacity-type, operator: In, values: [spot]}
        - {key: topology.kubernetes.io/zone, operator: In, values: [eu-west-1a, eu-west-1b, eu-west-1c]}
`,
		Check: func(t *Target) (out []Finding) {
			for _, p := range t.Pools {
				zone := onlyZone(p)
				if zone == "" || !p.MayBe(manifest.Spot) {
					continue
				}
				sibling := slices.ContainsFunc(t.Pools, func(q *manifest.Pool) bool {
					return q != p && onlyZone(q) != zone && slices.Equal(p.Taints, q.Taints)
				})
				if !sibling {
					out = append(out, at(&p.Meta, p.ZonesPos, "spot pool %s is in %s only", p.Name, zone))
				}
			}
			return out
		},
	}
}

// onlyZone returns the one zone, or subnet, of a pool, "" where it has more or
// does not tell.
func onlyZone(p *manifest.Pool) string {
	if len(p.Zones) == 1 {
		return p.Zones[0]
	}
	if len(p.Zones) == 0 {
		return p.OneSubnet
	}
	return ""
}
