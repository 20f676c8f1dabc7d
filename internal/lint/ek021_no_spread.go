package lint

import "github.com/evenkeel-dev/evenkeel/internal/lint/manifest"

func noSpread() Rule {
	return Rule{
		ID:       "EK021",
		Title:    "replicas on spot that may share one failure domain",
		Severity: Warning,
		Why: `Spot capacity is taken back by instance type and zone: of the instances that go, most go with others of their type
and zone within minutes. Replicas that share a zone, or even a node, go together, and then no budget helps. The
scheduler's built-in spreading is only a preference of low weight.

With a spread over nodes only, the finding is an info.`,
		Remedy: "Add a `topologySpreadConstraint` over `topology.kubernetes.io/zone` (maxSkew 1), and one over `kubernetes.io/hostname`.",
		Bad: `apiVersion: apps/v1
kind: Deployment # EK021
metadata: {name: engine}
spec:
  replicas: 4
  selector: {matchLabels: {app: engine}}
  template:
    metadata: {labels: {app: engine}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      containers:
        - {name: engine, image: engine, resources: {requests: {cpu: "1", memory: 1Gi}}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: engine}
spec:
  replicas: 4
  selector: {matchLabels: {app: engine}}
  template:
    metadata: {labels: {app: engine}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: engine}}}
        - {topologyKey: kubernetes.io/hostname, maxSkew: 2, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: engine}}}
      containers:
        - {name: engine, image: engine, resources: {requests: {cpu: "1", memory: 1Gi}}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.Replicated() || !a.Placement.OnSpot() || a.Floor() < 2 {
					continue
				}
				zone, node := spreads(&a.Pod)
				switch {
				case zone || len(a.Placement.Zones) == 1: // EK022 speaks of one zone
				case node:
					f := at(&a.Meta, a.Pod.Pos, "its %d replicas are spread over nodes, but may all be in one zone", a.Floor())
					f.Severity = Info
					out = append(out, f)
				default:
					out = append(out, at(&a.Meta, a.Meta.Pos, "its %d replicas may share one spot node or one zone (on spot: %s)", a.Floor(), a.Placement.Why))
				}
			}
			return out
		},
	}
}

// spreads reports over what the pods are kept apart, strictly or by preference.
func spreads(pod *manifest.Pod) (zone, node bool) {
	see := func(key string) {
		zone = zone || isZone(key)
		node = node || key == manifest.LabelHostname
	}
	for i := range pod.Spread {
		see(pod.Spread[i].TopologyKey)
	}
	for i := range pod.AntiAffinity {
		if pod.AntiAffinity[i].Selector.Matches(pod.Labels) {
			see(pod.AntiAffinity[i].TopologyKey)
		}
	}
	return zone, node
}
