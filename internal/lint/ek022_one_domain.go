package lint

func oneDomain() Rule {
	return Rule{
		ID:       "EK022",
		Title:    "all replicas on spot in one zone or one kind of machine",
		Severity: Warning,
		Why: `A zone, and within it an instance type, is what a cloud takes back together. Several replicas that can only run in
one zone, or only in one pool of one instance type, are one replica as far as a reclaim is concerned.`,
		Remedy: "Let the workload run in several zones and on several instance types: widen the node selector, or add a pool.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: rates}
spec:
  replicas: 3 # EK022
  selector: {matchLabels: {app: rates}}
  template:
    metadata: {labels: {app: rates}}
    spec:
      nodeSelector:
        karpenter.sh/capacity-type: spot
        topology.kubernetes.io/zone: us-east-1a
      topologySpreadConstraints:
        - {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: rates}}}
      containers:
        - {name: rates, image: rates, resources: {requests: {cpu: 200m, memory: 128Mi}}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: rates}
spec:
  replicas: 3
  selector: {matchLabels: {app: rates}}
  template:
    metadata: {labels: {app: rates}}
    spec:
      nodeSelector:
        karpenter.sh/capacity-type: spot
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: rates}}}
      containers:
        - {name: rates, image: rates, resources: {requests: {cpu: 200m, memory: 128Mi}}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.Replicated() || !a.Placement.OnSpot() || a.Floor() < 2 || len(a.VolumeClaims) > 0 {
					continue
				}
				switch p := &a.Placement; {
				case len(p.Zones) == 1:
					out = append(out, at(&a.Meta, a.ReplicasPos(), "its %d replicas can only run in zone %s", a.Floor(), p.Zones[0]))
				case len(p.Pools) == 1 && p.Pools[0].OnlySpot() && len(p.Pools[0].InstanceTypes) == 1:
					out = append(out, at(&a.Meta, a.ReplicasPos(), "its %d replicas can only run in pool %s, on %s", a.Floor(), p.Pools[0].Name, p.Pools[0].InstanceTypes[0]))
				}
			}
			return out
		},
	}
}
