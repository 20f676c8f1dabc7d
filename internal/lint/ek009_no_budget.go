package lint

func noBudget() Rule {
	return Rule{
		ID:       "EK009",
		Title:    "replicated service on spot without a disruption budget",
		Severity: Warning,
		Why: `Reclaims take several nodes at once. Whatever empties them, a controller, an autoscaler or a person, may evict all
replicas at the same moment: without a budget nothing tells it to wait until replacements are Ready.

A workload with one replica is not reported: a budget could only block its drain (EK001).`,
		Remedy: "Add a PodDisruptionBudget with `maxUnavailable: 1` and `unhealthyPodEvictionPolicy: AlwaysAllow`.",
		Bad: `apiVersion: apps/v1
kind: Deployment # EK009
metadata: {name: login}
spec:
  replicas: 3
  selector: {matchLabels: {app: login}}
  template:
    metadata: {labels: {app: login}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: login}}}
      containers:
        - name: login
          image: login
          readinessProbe: {httpGet: {path: /readyz, port: 8080}}
          resources: {requests: {cpu: 100m, memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: login}
spec:
  selector: {app: login}
  ports: [{port: 80, targetPort: 8080}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: login}
spec:
  replicas: 3
  selector: {matchLabels: {app: login}}
  template:
    metadata: {labels: {app: login}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: login}}}
      containers:
        - name: login
          image: login
          readinessProbe: {httpGet: {path: /readyz, port: 8080}}
          resources: {requests: {cpu: 100m, memory: 128Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: login}
spec:
  selector: {app: login}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: login}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector: {matchLabels: {app: login}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Replicated() && a.Placement.OnSpot() && a.Floor() > 1 && a.Serves() && len(a.Budgets) == 0 {
					out = append(out, at(&a.Meta, a.Meta.Pos, "nothing keeps its %d replicas from being evicted at once (on spot: %s)", a.Floor(), a.Placement.Why))
				}
			}
			return out
		},
	}
}
