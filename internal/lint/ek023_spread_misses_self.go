package lint

func spreadMissesSelf() Rule {
	return Rule{
		ID:       "EK023",
		Title:    "spread constraint that does not count the pods it is written for",
		Severity: Warning,
		Why: `The scheduler counts the pods that the constraint's ` + "`labelSelector`" + ` selects. If that does not select the pods of
the workload itself, or is missing, the counts never change and nothing is spread, without any error.`,
		Remedy: "Use the labels of the pod template in `labelSelector`.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: scorer}
spec:
  replicas: 4
  selector: {matchLabels: {app: scorer}}
  template:
    metadata: {labels: {app: scorer}}
    spec:
      topologySpreadConstraints:
        - maxSkew: 1 # EK023
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: score}}
      containers: [{name: scorer, image: scorer}]
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: scorer}
spec:
  replicas: 4
  selector: {matchLabels: {app: scorer}}
  template:
    metadata: {labels: {app: scorer}}
    spec:
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: topology.kubernetes.io/zone
          whenUnsatisfiable: DoNotSchedule
          labelSelector: {matchLabels: {app: scorer}}
      containers: [{name: scorer, image: scorer}]
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				for i := range a.Pod.Spread {
					s := &a.Pod.Spread[i]
					switch {
					case s.Selector.Matches(a.Pod.Labels):
					case s.Selector.Set:
						out = append(out, at(&a.Meta, s.Pos, "the spread over %s selects other pods than those of %s", s.TopologyKey, a.Name))
					default:
						out = append(out, at(&a.Meta, s.Pos, "the spread over %s has no labelSelector and counts no pods", s.TopologyKey))
					}
				}
			}
			return out
		},
	}
}
