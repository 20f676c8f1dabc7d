package drain

// answerHooks keeps Auto Scaling groups waiting while a node is drained, and lets
// them go on when it is empty, or when its time is up.
func (st *step) answerHooks(n *node) {
	if len(n.record.Hooks) == 0 || !n.record.Completed.IsZero() {
		return
	}
	kind, why := Heartbeat, StillDraining
	switch {
	case !n.record.Emptied.IsZero():
		kind, why = Complete, NodeEmptied
	case !st.Now.Before(n.record.Deadline):
		kind, why = Complete, PastDeadline
	}
	waiting := 0
	for i := range n.record.Hooks {
		e := Effect{Kind: kind, Node: n.name, Reason: why, Hook: &n.record.Hooks[i]}
		if t := n.tries[e.key()]; kind == Complete && t != nil && !t.flying && (t.last == Done || t.last == Missing) {
			continue
		}
		waiting++
		st.doFor(n, e)
	}
	if kind == Complete && waiting == 0 && !n.unsaved {
		n.record.Completed = st.Now
		st.change(n, HookCompleted)
		st.store(n)
	}
}
