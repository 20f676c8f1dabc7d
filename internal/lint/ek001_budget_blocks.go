package lint

import "github.com/evenkeel-dev/evenkeel/internal/lint/manifest"

func budgetBlocks() Rule {
	return Rule{
		ID:       "EK001",
		Title:    "disruption budget that never allows an eviction",
		Severity: Error,
		Why: `A budget that needs as many pods as there are refuses every eviction. A node upgrade waits until someone
intervenes. At a spot reclaim nobody does: the pods are never asked to leave, get neither preStop nor SIGTERM, and die
with the machine. Percentages are rounded up, so ` + "`minAvailable: 50%`" + ` of one replica is one.

The finding is a warning where the Evenkeel controller can start a replacement before the eviction (a Deployment that
rolls and has not opted out of handoff), since the budget then has room for one.`,
		Remedy: "Run one replica more than the budget needs, or write `maxUnavailable: 1`, which stays right at any scale.",
		Bad: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ledger}
spec:
  replicas: 3
  serviceName: ledger
  selector: {matchLabels: {app: ledger}}
  template:
    metadata: {labels: {app: ledger}}
    spec:
      containers: [{name: ledger, image: ledger}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: ledger}
spec:
  minAvailable: 90% # EK001
  selector: {matchLabels: {app: ledger}}
`,
		Good: `apiVersion: apps/v1
kind: StatefulSet
metadata: {name: ledger}
spec:
  replicas: 3
  serviceName: ledger
  selector: {matchLabels: {app: ledger}}
  template:
    metadata: {labels: {app: ledger}}
    spec:
      containers: [{name: ledger, image: ledger}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: ledger}
spec:
  maxUnavailable: 1
  selector: {matchLabels: {app: ledger}}
`,
		Check: func(t *Target) (out []Finding) {
			for _, b := range t.Budgets {
				apps := t.Budgeted(b)
				total, countable := ceilings(apps)
				if !countable || total == 0 || b.MinAvailable.Set && b.MaxUnavailable.Set {
					continue
				}
				var f Finding
				if needs, blocks := budgetNeeds(b, total); !blocks {
					continue
				} else if b.MaxUnavailable.Set {
					f = at(&b.Meta, b.MaxUnavailable.Pos, "maxUnavailable %s refuses every eviction", b.MaxUnavailable.Value)
				} else if needs > total {
					f = at(&b.Meta, b.MinAvailable.Pos, "needs %d pods but %s has at most %d: it can never be satisfied", needs, names(apps), total)
				} else {
					f = at(&b.Meta, b.MinAvailable.Pos, "needs %d of the %d of %s: every eviction is refused", needs, total, names(apps))
				}
				if allHandoff(apps) {
					f.Severity = Warning
				}
				out = append(out, f)
			}
			return out
		},
	}
}

// budgetNeeds returns how many of total pods must stay, and whether that leaves
// none to evict. A budget without limits needs one pod.
func budgetNeeds(b *manifest.Budget, total int) (needs int, blocks bool) {
	if b.MaxUnavailable.Set {
		needs = total - b.MaxUnavailable.Value.Of(total)
		return needs, needs >= total
	}
	needs = b.MinAvailable.Or(manifest.Amount{N: 1}).Of(total)
	return needs, needs >= total
}

// ceilings returns the most pods that apps can have together. Where one of them
// is not scaled by count there is no such number.
func ceilings(apps []*App) (total int, ok bool) {
	for _, a := range apps {
		if !a.Replicated() {
			return 0, false
		}
		total += a.Ceiling()
	}
	return total, len(apps) > 0
}

func allHandoff(apps []*App) bool {
	for _, a := range apps {
		if !a.Handoff() {
			return false
		}
	}
	return true
}

// names lists apps in a message.
func names(apps []*App) string {
	switch len(apps) {
	case 1:
		return apps[0].Kind + " " + apps[0].Name
	case 2:
		return apps[0].Name + " and " + apps[1].Name
	}
	return apps[0].Name + ", " + apps[1].Name + " and others"
}
