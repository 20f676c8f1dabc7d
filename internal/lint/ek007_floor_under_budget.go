package lint

func floorUnderBudget() Rule {
	return Rule{
		ID:       "EK007",
		Title:    "autoscaler that scales down to where the budget allows no eviction",
		Severity: Warning,
		Why: `At its floor the workload has no more pods than the budget needs, so at night, when load is low, no pod can be
evicted and no node drained. The budget looks right during the day.`,
		Remedy: "Keep the floor one above `minAvailable`, or use `maxUnavailable: 1`.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: quotes}
spec:
  selector: {matchLabels: {app: quotes}}
  template:
    metadata: {labels: {app: quotes}}
    spec:
      containers: [{name: quotes, image: quotes}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: quotes}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: quotes}
  minReplicas: 2 # EK007
  maxReplicas: 10
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: quotes}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: quotes}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: quotes}
spec:
  selector: {matchLabels: {app: quotes}}
  template:
    metadata: {labels: {app: quotes}}
    spec:
      containers: [{name: quotes, image: quotes}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: quotes}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: quotes}
  minReplicas: 3
  maxReplicas: 10
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: quotes}
spec:
  minAvailable: 2
  selector: {matchLabels: {app: quotes}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Scaler == nil || a.Floor() == 0 {
					continue
				}
				for _, b := range a.Budgets {
					if !b.MinAvailable.Set || b.MaxUnavailable.Set {
						continue
					}
					if _, blocks := budgetNeeds(b, a.Ceiling()); blocks {
						continue // EK001
					}
					if needs, blocks := budgetNeeds(b, a.Floor()); blocks {
						out = append(out, at(&a.Scaler.Meta, a.Scaler.Min.Pos, "scales %s down to %d, and PodDisruptionBudget %s needs %d: no pod can be evicted then",
							a.Name, a.Floor(), b.Name, needs))
					}
				}
			}
			return out
		},
	}
}
