package drain

import "github.com/evenkeel-dev/evenkeel/internal/cluster"

// budgets keeps each PodDisruptionBudget that declares two limits at the stricter
// of them: which that is depends on how many replicas there are, and the API
// server accepts only one.
func (st *step) budgets() {
	for k, t := range st.rebudgets {
		if !t.flying && !t.next.After(st.Now) && t.last == Done {
			delete(st.rebudgets, k)
		}
	}
	for _, b := range st.Cluster.TwoLimits() {
		lo, hi := either(b.Min, b.OtherMin), either(b.Max, b.OtherMax)
		if lo == nil || hi == nil {
			continue // the annotation repeats what the spec says
		}
		replicas := st.Cluster.ReplicasUnder(b)
		byMin, byMax := replicas-lo.Of(replicas), hi.Of(replicas) // how many may go
		if replicas == 0 || byMin == byMax || (byMax < byMin) == (b.Max != nil) {
			continue
		}
		st.do(st.rebudgets, Effect{
			Kind: Rebudget, Reason: StricterLimit, Pod: b.Key, UID: b.UID,
			Budget: &BudgetChange{Version: b.Version, Min: *lo, Max: *hi, EnforceMax: byMax < byMin},
		})
	}
}

func either(a, b *cluster.Limit) *cluster.Limit {
	if a != nil {
		return a
	}
	return b
}
