package lint

func singleReplica() Rule {
	return Rule{
		ID:       "EK020",
		Title:    "one replica on spot, and no way to replace it before it goes",
		Severity: Warning,
		Why: `When the node of the only replica is reclaimed, callers get errors until a new pod is Ready: the time to find a
node, pull the image and start. The Evenkeel controller can start the replacement first, but only for a Deployment that
rolls and has not opted out of handoff; for such a Deployment the finding is an info, and holds in clusters without the
controller.`,
		Remedy: "Run two replicas, or move the workload to on-demand; for a Deployment allow handoff (no `Recreate`, no `evenkeel.dev/handoff: \"false\"`).",
		Bad: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: index}
spec:
  replicas: 1 # EK020
  serviceName: index
  selector: {matchLabels: {app: index}}
  template:
    metadata: {labels: {app: index}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      containers:
        - name: index
          image: index
          readinessProbe: {tcpSocket: {port: 9200}}
          resources: {requests: {cpu: "1", memory: 4Gi}}
---
apiVersion: v1
kind: Service
metadata: {name: index}
spec:
  selector: {app: index}
  ports: [{port: 9200}]
`,
		Good: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: index}
spec:
  replicas: 2
  serviceName: index
  selector: {matchLabels: {app: index}}
  template:
    metadata: {labels: {app: index}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      topologySpreadConstraints:
        - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: index}}}
      containers:
        - name: index
          image: index
          readinessProbe: {tcpSocket: {port: 9200}}
          resources: {requests: {cpu: "1", memory: 4Gi}}
---
apiVersion: v1
kind: Service
metadata: {name: index}
spec:
  selector: {app: index}
  ports: [{port: 9200}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: index}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector: {matchLabels: {app: index}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if !a.Replicated() || !a.Placement.OnSpot() || a.Ceiling() != 1 || !a.Serves() || a.Strategy.Value == "Recreate" {
					continue
				}
				f := at(&a.Meta, a.ReplicasPos(), "its only replica goes with its spot node (%s)", a.Placement.Why)
				if a.Handoff() {
					f.Severity = Info
					f.Message += "; only handoff by the Evenkeel controller keeps it up"
				}
				out = append(out, f)
			}
			return out
		},
	}
}
