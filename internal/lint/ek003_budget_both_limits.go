package lint

func budgetBothLimits() Rule {
	return Rule{
		ID:       "EK003",
		Title:    "disruption budget with both limits",
		Severity: Error,
		Why: `The API server refuses a budget with both ` + "`minAvailable` and `maxUnavailable`" + `: the object is never created, and
the workload is left without any.`,
		Remedy: "Keep the stricter one. `evenkeel render` does so, and leaves the other to the budget reconciler.",
		Bad: `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: gateway}
spec:
  minAvailable: 2
  maxUnavailable: 25% # EK003
  selector: {matchLabels: {app: gateway}}
`,
		Good: `apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: gateway}
spec:
  maxUnavailable: 25%
  selector: {matchLabels: {app: gateway}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, b := range t.Budgets {
				if b.MinAvailable.Set && b.MaxUnavailable.Set {
					out = append(out, at(&b.Meta, b.MaxUnavailable.Pos, "sets both minAvailable %s and maxUnavailable %s; the API server refuses that",
						b.MinAvailable.Value, b.MaxUnavailable.Value))
				}
			}
			return out
		},
	}
}
