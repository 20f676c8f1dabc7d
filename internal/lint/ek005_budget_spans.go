package lint

import "slices"

func budgetSpans() Rule {
	return Rule{
		ID:       "EK005",
		Title:    "disruption budget over pods of different applications",
		Severity: Warning,
		Why: `One budget over two applications counts their pods together: all pods of the small one may go at once, and a
broken pod of one blocks the drain of the other. It happens when a selector names a label that a whole release shares
(` + "`app.kubernetes.io/instance`" + `), or is empty.

Workloads behind one Service (blue and green, canary) are one application here.`,
		Remedy: "Select by the label that tells the applications apart; write one budget for each.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 8
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api, release: shop}}
    spec:
      containers: [{name: api, image: api}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: auth}
spec:
  replicas: 2
  selector: {matchLabels: {app: auth}}
  template:
    metadata: {labels: {app: auth, release: shop}}
    spec:
      containers: [{name: auth, image: auth}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api}
spec:
  minAvailable: 6
  selector:
    matchLabels: {release: shop} # EK005
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 8
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api, release: shop}}
    spec:
      containers: [{name: api, image: api}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: auth}
spec:
  replicas: 2
  selector: {matchLabels: {app: auth}}
  template:
    metadata: {labels: {app: auth, release: shop}}
    spec:
      containers: [{name: auth, image: auth}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api}
spec:
  minAvailable: 6
  selector:
    matchLabels: {app: api}
`,
		Check: func(t *Target) (out []Finding) {
			for _, b := range t.Budgets {
				apps := t.Budgeted(b)
				if len(apps) < 2 || oneService(apps) {
					continue
				}
				out = append(out, at(&b.Meta, b.Selector.Pos, "covers %d applications: %s", len(apps), names(apps)))
			}
			return out
		},
	}
}

// oneService reports whether some Service stands before all of the apps.
func oneService(apps []*App) bool {
	for _, s := range apps[0].Services {
		shared := true
		for _, a := range apps[1:] {
			shared = shared && slices.Contains(a.Services, s)
		}
		if shared {
			return true
		}
	}
	return false
}
