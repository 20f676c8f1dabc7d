package drain

// The ways in which a pod is moved, as they are counted and reported.
const (
	MethodHandoff = "handoff" // its replacement was Ready first
	MethodEvict   = "evict"   // it was evicted without that
	MethodDelete  = "delete"  // it was deleted past a budget
)

// Method says how a pod was moved by an effect that was done, or "" if the effect
// did not ask the pod to stop. Each pod is asked once.
func Method(effect Kind, why Reason) string {
	switch effect {
	case Evict, Delete:
	default:
		return ""
	}
	switch why {
	case ReplacementReady, Deregistered, TwoBudgets:
		return MethodHandoff
	}
	if effect == Delete {
		return MethodDelete
	}
	return MethodEvict
}

// BudgetName returns the budget that blocks, with its namespace; "" if it is not
// known.
func (e Event) BudgetName() string {
	if e.Budget == "" {
		return ""
	}
	return e.Pod.Namespace + "/" + e.Budget
}
