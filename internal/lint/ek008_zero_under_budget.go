package lint

import "github.com/evenkeel-dev/evenkeel/internal/lint/manifest"

func zeroUnderBudget() Rule {
	return Rule{
		ID:       "EK008",
		Title:    "workload that scales to zero under a budget that wants pods",
		Severity: Warning,
		Why: `A workload that may have no pod at all needs none. With ` + "`minAvailable`" + ` above zero its first pod, started
for work that has just come in, can never be evicted: the node that it lands on cannot be drained while there is work.
A KEDA ScaledObject without ` + "`minReplicaCount`" + ` scales to zero.`,
		Remedy: "Use `maxUnavailable` (`50%`, or 1), which is satisfied at zero; or keep a floor above the budget.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: report}
spec:
  selector: {matchLabels: {app: report}}
  template:
    metadata: {labels: {app: report}}
    spec:
      containers: [{name: report, image: report}]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: report}
spec:
  scaleTargetRef: {name: report}
  minReplicaCount: 0 # EK008
  maxReplicaCount: 20
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: report}
spec:
  minAvailable: 1
  selector: {matchLabels: {app: report}}
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: report}
spec:
  selector: {matchLabels: {app: report}}
  template:
    metadata: {labels: {app: report}}
    spec:
      containers: [{name: report, image: report}]
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: report}
spec:
  scaleTargetRef: {name: report}
  minReplicaCount: 0
  maxReplicaCount: 20
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: report}
spec:
  maxUnavailable: 50%
  selector: {matchLabels: {app: report}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, a := range t.Apps {
				if a.Scaler == nil || a.Floor() != 0 {
					continue
				}
				for _, b := range a.Budgets {
					if b.MaxUnavailable.Set || b.MinAvailable.Or(manifest.Amount{N: 1}).N == 0 {
						continue
					}
					if _, blocks := budgetNeeds(b, a.Ceiling()); blocks {
						continue // EK001
					}
					out = append(out, at(&a.Scaler.Meta, a.Scaler.Min.Pos, "scales %s to zero, and PodDisruptionBudget %s wants %s: its first pods cannot be evicted",
						a.Name, b.Name, b.MinAvailable.Or(manifest.Amount{N: 1})))
				}
			}
			return out
		},
	}
}
