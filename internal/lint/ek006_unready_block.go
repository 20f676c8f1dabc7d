package lint

func unreadyBlock() Rule {
	return Rule{
		ID:       "EK006",
		Title:    "pods that are not ready can block the drain of a spot node",
		Severity: Info,
		Why: `By default a budget protects pods that run but are not Ready whenever the application is below its budget: one
crash loop and the node cannot be emptied in time, although nobody is served by the pod that is protected.`,
		Remedy: "Write `unhealthyPodEvictionPolicy: AlwaysAllow` (Kubernetes 1.27 and later). `--fix` adds it.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: feed}
spec:
  replicas: 3
  selector: {matchLabels: {app: feed}}
  template:
    metadata: {labels: {app: feed}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: feed}}}
      containers:
        - {name: feed, image: feed, resources: {requests: {cpu: 100m, memory: 64Mi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget # EK006
metadata: {name: feed}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: feed}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: feed}
spec:
  replicas: 3
  selector: {matchLabels: {app: feed}}
  template:
    metadata: {labels: {app: feed}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: feed}}}
      containers:
        - {name: feed, image: feed, resources: {requests: {cpu: 100m, memory: 64Mi}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: feed}
spec:
  unhealthyPodEvictionPolicy: AlwaysAllow
  maxUnavailable: 1
  selector: {matchLabels: {app: feed}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, b := range t.Budgets {
				if b.UnhealthyPolicy.Set || b.APIVersion != "policy/v1" {
					continue
				}
				for _, a := range t.Budgeted(b) {
					if !a.Placement.OnSpot() {
						continue
					}
					f := at(&b.Meta, b.Pos, "pods of %s that are not ready can block the drain of a spot node", a.Name)
					if b.SpecFirst.Line > 0 {
						f.Fix = insertBefore(b.SpecFirst, "unhealthyPodEvictionPolicy: AlwaysAllow")
					}
					out = append(out, f)
					break
				}
			}
			return out
		},
	}
}
