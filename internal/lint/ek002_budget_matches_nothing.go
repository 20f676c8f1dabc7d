package lint

func budgetMatchesNothing() Rule {
	return Rule{
		ID:       "EK002",
		Title:    "disruption budget that matches no pods",
		Severity: Warning,
		Why: `A budget protects pods by their labels, not by a name. After a label was renamed it protects nothing, and nobody
notices until a drain takes all replicas at once.

The rule is silent where the input holds no workload in the budget's namespace, or holds custom resources whose
operator may create the pods.`,
		Remedy: "Copy the selector of the workload.",
		Bad: `apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  replicas: 2
  selector: {matchLabels: {app.kubernetes.io/name: cart}}
  template:
    metadata: {labels: {app.kubernetes.io/name: cart}}
    spec:
      containers: [{name: cart, image: cart}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: cart}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {app: cart} # EK002
`,
		Good: `apiVersion: apps/v1
kind: Deployment
metadata: {name: cart}
spec:
  replicas: 2
  selector: {matchLabels: {app.kubernetes.io/name: cart}}
  template:
    metadata: {labels: {app.kubernetes.io/name: cart}}
    spec:
      containers: [{name: cart, image: cart}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: cart}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {app.kubernetes.io/name: cart}
`,
		Check: func(t *Target) (out []Finding) {
			foreign := map[string]bool{}
			for _, m := range t.Foreign {
				foreign[t.namespace(m)] = true
			}
			for _, b := range t.Budgets {
				namespace := t.namespace(&b.Meta)
				if foreign[namespace] || len(t.Budgeted(b)) > 0 {
					continue
				}
				workloads := distinct(t.index.byNamespace[namespace])
				if len(workloads) == 0 {
					continue
				}
				out = append(out, at(&b.Meta, b.Selector.Pos, "selects the pods of none of the %d workloads in namespace %s", len(workloads), namespace))
			}
			return out
		},
	}
}
