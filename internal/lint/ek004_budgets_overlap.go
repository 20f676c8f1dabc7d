package lint

import "github.com/evenkeel-dev/evenkeel/internal/lint/manifest"

func budgetsOverlap() Rule {
	return Rule{
		ID:       "EK004",
		Title:    "pods under more than one disruption budget",
		Severity: Error,
		Why: `The eviction API answers 500 ("This pod has more than one PodDisruptionBudget, which the eviction subresource does
not support") for a pod that two budgets select. Such a pod can never be evicted, only deleted.`,
		Remedy: "Leave one budget for each pod; make the selectors disjoint.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: search}
spec:
  replicas: 3
  selector: {matchLabels: {app: search}}
  template:
    metadata: {labels: {app: search, tier: backend}}
    spec:
      containers: [{name: search, image: search}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: search}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: search}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: backend}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {tier: backend} # EK004
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: search}
spec:
  replicas: 3
  selector: {matchLabels: {app: search}}
  template:
    metadata: {labels: {app: search, tier: backend}}
    spec:
      containers: [{name: search, image: search}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: search}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: search}}
`,
		Check: func(t *Target) (out []Finding) {
			type pair struct{ first, second *manifest.Budget }
			seen := map[pair]bool{}
			for _, a := range t.Apps {
				for i, second := range a.Budgets {
					first := a.Budgets[0]
					// The same budget twice is one object in two variants of the input.
					if i == 0 || first.Name == second.Name || seen[pair{first, second}] {
						continue
					}
					seen[pair{first, second}] = true
					out = append(out, at(&second.Meta, second.Selector.Pos, "selects the pods of %s, as PodDisruptionBudget %s does: they can never be evicted",
						names([]*App{a}), first.Name))
				}
			}
			return out
		},
	}
}
