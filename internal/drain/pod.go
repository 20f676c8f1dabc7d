package drain

import (
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// decision is what becomes of one pod now, and why.
type decision struct {
	kind   Kind // Handoff, Evict or Delete; empty to wait or to leave it
	reason Reason
	latest time.Time      // the pod's latest start; zero where it has none
	grace  *time.Duration // of Evict and Delete
}

// stays reports whether a pod is not among those that must leave the node.
func (d decision) stays() bool {
	switch d.reason {
	case DaemonSetPod, MirrorPod, CompletedPod:
		return true
	}
	return false
}

// decide looks at one pod of a node that is being drained. A nil node stands for
// one whose drain was called off: the pod then has all the time it needs.
func (st *step) decide(p *cluster.Pod, n *node) decision {
	switch {
	case p.Mirror:
		return decision{reason: MirrorPod}
	case p.Owner.Kind == "DaemonSet":
		return decision{reason: DaemonSetPod}
	case p.Completed:
		return decision{reason: CompletedPod}
	}
	var latest time.Time
	if n != nil {
		latest = n.record.Deadline.Add(-st.policy.margin() - p.Grace)
	}
	wait := func(why Reason) decision { return decision{reason: why, latest: latest} }
	switch {
	case p.Terminating, st.leaving(p):
		return wait(TerminatingPod)
	case n != nil && !st.Now.Before(n.record.Deadline):
		return wait(PastDeadline)
	case n != nil && !st.Now.Before(latest):
		return st.atLatestStart(p, n, latest)
	}
	evict := func(why Reason) decision { return decision{kind: Evict, reason: why, latest: latest} }

	if p.ReleasedFrom() != "" {
		d := st.Cluster.DeploymentOf(p)
		switch {
		case d == nil:
			return evict(OwnerGone)
		case !p.Ready:
			return evict(NotReady)
		case st.spare(d):
			return evict(ReplacementReady)
		}
		return wait(AwaitsReplacement)
	}
	if p.Owner.Kind == "Job" {
		return wait(JobMayFinish)
	}
	if why := st.whyNotHandoff(p); why != "" {
		return evict(why)
	}
	if settled := st.settled(); settled.After(st.Now) {
		st.wake(settled)
		return wait(AwaitsCordons)
	}
	return decision{kind: Handoff, reason: HandOff, latest: latest}
}

// atLatestStart decides for a pod that can wait no longer. It is evicted; if a
// budget has blocked that, the policy decides. The grace is cut to what is left,
// so that the pod is gone before its machine.
func (st *step) atLatestStart(p *cluster.Pod, n *node, latest time.Time) decision {
	d := decision{kind: Evict, reason: LatestStart, latest: latest}
	if left := n.record.Deadline.Add(-st.policy.margin()).Sub(st.Now); left < p.Grace {
		// The API counts grace in whole seconds, and 0 would mean: kill at once.
		left = max(left.Truncate(time.Second), time.Second)
		d.grace = &left
	}
	if tr := n.tries[effectKey{Evict, p.UID}]; tr == nil || tr.last != Blocked {
		return d
	}
	if p.OnDeadline == "leave" || p.OnDeadline == "" && st.policy.Leave {
		d.kind, d.reason = "", LeftByPolicy
		return d
	}
	d.kind, d.reason = Delete, BudgetAtLatest
	return d
}

// whyNotHandoff says why a pod cannot be released to let a replacement start
// beside it; empty when it can.
func (st *step) whyNotHandoff(p *cluster.Pod) Reason {
	d := st.Cluster.DeploymentOf(p)
	switch {
	case d == nil || p.Labels[cluster.TemplateHashLabel] == "":
		return NoDeployment
	case p.NoHandoff:
		return OptedOut
	case d.Recreate:
		return StrategyRecreate
	case !p.Ready:
		return NotReady
	case st.Cluster.SelectsHash(p) != nil:
		return ServiceSelects
	case st.Cluster.Adopter(p) != "":
		return WouldBeAdopted
	}
	return ""
}

// settled is when handoffs may begin: a moment after the latest notice, and when
// every node noticed lately is cordoned. A cordon that does not succeed holds
// them up for a second at most.
func (st *step) settled() time.Time {
	at := st.lastNotice.Add(st.policy.settle())
	for _, n := range st.nodes {
		if hold := n.noticed.Add(time.Second); !n.durable && hold.After(at) {
			at = hold
		}
	}
	return at
}

// spare takes one of a Deployment's spare pods: the available ones beyond those
// that it wants. It reports whether there was one.
func (st *step) spare(d *cluster.Deployment) bool {
	n, ok := st.surplus[d.UID]
	if !ok {
		ready, next := st.Cluster.ReadyOf(d, st.Now, st.leaving)
		if !next.IsZero() {
			st.wake(next)
		}
		n = ready - d.Replicas
	}
	st.surplus[d.UID] = n - 1
	return n > 0
}

// leaving reports whether the end of a pod has been asked for, though the
// cluster may not show it yet.
func (st *step) leaving(p *cluster.Pod) bool {
	t := st.strays
	if n := st.nodes[p.Node]; n != nil {
		t = n.tries
	}
	for _, k := range []Kind{Evict, Delete} {
		if tr := t[effectKey{k, p.UID}]; tr != nil && (tr.flying || tr.last == Done && tr.next.After(st.Now)) {
			return true
		}
	}
	return false
}

// carryOut asks for the effects of a decision.
func (st *step) carryOut(n *node, p *cluster.Pod, d decision) {
	e := Effect{Kind: d.kind, Node: n.name, Reason: d.reason, Pod: p.Key, UID: p.UID, Service: st.serviceOf(p), Grace: d.grace}
	switch d.kind {
	case Handoff:
		e.Hash, e.Deadline = p.Labels[cluster.TemplateHashLabel], n.record.Deadline
		fallthrough
	case Evict, Delete:
		st.do(n.tries, e)
		return
	}
	// The pod waits, and is told until when. What is about to be handed off learns
	// it with that; what is terminating or past its deadline has no use for it.
	switch d.reason {
	case AwaitsReplacement, JobMayFinish, LeftByPolicy:
	default:
		return
	}
	if n.durable && FormatDeadline(n.record.Deadline) != p.Deadline {
		e.Kind, e.Deadline = Announce, n.record.Deadline
		st.do(n.tries, e)
	}
}

// serviceOf names what a pod belongs to, as people know it.
func (st *step) serviceOf(p *cluster.Pod) string {
	if d := st.Cluster.DeploymentOf(p); d != nil {
		return "Deployment/" + d.Name
	}
	if p.Owner.Kind == "" {
		return ""
	}
	return p.Owner.Kind + "/" + p.Owner.Name
}

// FormatDeadline returns a deadline as a pod is told it.
func FormatDeadline(t time.Time) string { return t.UTC().Format(time.RFC3339) }
