package lint

func recreateOnSpot() Rule {
	return Rule{
		ID:       "EK028",
		Title:    "Recreate strategy for a service on spot",
		Severity: Warning,
		Why: `` + "`Recreate`" + ` says that two pods of the Deployment must never run at once. So nobody may start the replacement of a
reclaimed pod before the old one has ended, and every reclaim is an outage as long as the start of a pod. On on-demand
nodes that happens at rollouts; on spot, at any time.`,
		Remedy: "Use `RollingUpdate` if two at once are safe; if not (an exclusive volume, a lock), run the workload on on-demand nodes.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: wiki}
spec:
  replicas: 1
  strategy: {type: Recreate} # EK028
  selector: {matchLabels: {app: wiki}}
  template:
    metadata: {labels: {app: wiki}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      containers:
        - name: wiki
          image: wiki
          readinessProbe: {httpGet: {path: /, port: 80}}
          resources: {requests: {cpu: 100m, memory: 256Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: wiki}
spec:
  selector: {app: wiki}
  ports: [{port: 80}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: wiki}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: wiki}}
  template:
    metadata: {labels: {app: wiki}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: on-demand}
      containers:
        - name: wiki
          image: wiki
          readinessProbe: {httpGet: {path: /, port: 80}}
          resources: {requests: {cpu: 100m, memory: 256Mi}}
---
apiVersion: v1
kind: Service
metadata: {name: wiki}
spec:
  selector: {app: wiki}
  ports: [{port: 80}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Kind == "Deployment" && a.Strategy.Value == "Recreate" && a.Placement.OnSpot() && a.Serves() {
					out = append(out, at(&a.Meta, a.Strategy.Pos, "every reclaim of a node is an outage: no replacement may start before the old pod has ended (on spot: %s)", a.Placement.Why))
				}
			}
			return out
		},
	}
}
