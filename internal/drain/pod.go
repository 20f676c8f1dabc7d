package drain

import (
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// decision is what becomes of one pod now, and why.
type decision struct {
	kind   Kind // Handoff, Withdraw, Evict or Delete; empty to wait or to leave it
	reason Reason
	latest time.Time // the pod's latest start; zero where it has none
	until  time.Time // when the pod is to be looked at again, if nothing changes before
}

// stays reports whether a pod is not among those that must leave the node.
func (d decision) stays() bool {
	switch d.reason {
	case DaemonSetPod, MirrorPod, CompletedPod, PastGrace:
		return true
	}
	return false
}

// stuck is how long after the end of its grace a pod that is still there is given
// up: its kubelet or one of its volumes is in the way, and nothing that the API
// offers helps without risk to its data.
const stuck = time.Minute

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
	case p.Terminating && !p.Ends.IsZero() && !st.Now.Before(p.Ends.Add(stuck)):
		return decision{reason: PastGrace}
	case p.Terminating && !p.Ends.IsZero():
		return decision{reason: TerminatingPod, until: p.Ends.Add(stuck)}
	case p.Terminating, st.leaving(p):
		return decision{reason: TerminatingPod}
	}
	others := n != nil && st.othersEvict(n)
	if others && p.ReleasedFrom() != "" {
		return decision{reason: LeftToOther}
	}
	d := st.unhurried(p, n)
	switch {
	case n == nil:
		return d
	case others && d.kind == Evict:
		return decision{reason: LeftToOther}
	case others && st.Now.Before(n.record.Deadline):
		return d
	case others && !n.record.Deadline.IsZero():
		return decision{reason: LeftToOther}
	}
	if n.record.Deadline.IsZero() {
		return d
	}
	t := st.times(p, n, d)
	switch {
	case !st.Now.Before(n.record.Deadline):
		// The machine is overdue. What is asked to leave now may still have the time.
		return st.pressing(p, n, decision{kind: Evict, reason: PastDeadline})
	case !st.Now.Before(t.stop):
		return st.pressing(p, n, decision{kind: Evict, reason: LatestStart, latest: t.stop})
	case !st.Now.Before(t.withdraw) && p.Withdrawn.IsZero() && d.kind == "" && !st.leaves(p):
		return decision{kind: Withdraw, reason: LatestStart, latest: t.stop, until: t.stop}
	}
	d.latest = t.stop
	if d.until.IsZero() || t.withdraw.After(st.Now) && t.withdraw.Before(d.until) {
		d.until = t.withdraw
	}
	if !t.withdraw.After(st.Now) || t.stop.Before(d.until) {
		d.until = t.stop
	}
	return d
}

// unhurried decides for a pod as if it had all the time it needs.
func (st *step) unhurried(p *cluster.Pod, n *node) decision {
	evict := func(why Reason) decision { return decision{kind: Evict, reason: why} }
	wait := func(why Reason) decision { return decision{reason: why} }
	if p.ReleasedFrom() != "" {
		return st.released(p, n)
	}
	if n == nil {
		return wait(TerminatingPod) // not reached: only released pods are looked at without a node
	}
	risen := n.record.Notice.Kind == interruption.Rebalance // only the risk has risen
	if risen && st.policy.rebalance(st.Cluster.Node(n.name)) != RebalanceHandoff {
		return wait(CordonOnly)
	}
	if p.Owner.Kind == "Job" {
		return wait(JobMayFinish)
	}
	if why := st.whyNotHandoff(p); why != "" {
		if risen {
			return wait(NoInterruptionYet)
		}
		return evict(why)
	}
	if st.settled.After(st.Now) {
		n.awaits = true
		return wait(AwaitsCordons)
	}
	return decision{kind: Handoff, reason: HandOff}
}

// released decides for a pod that was handed off: it goes when its app has a pod
// to spare.
func (st *step) released(p *cluster.Pod, n *node) decision {
	d := st.Cluster.DeploymentOf(p)
	balancer := st.deregistration(p)
	switch {
	case d == nil:
		return decision{kind: Evict, reason: OwnerGone}
	case !p.Withdrawn.IsZero():
		if end := p.Withdrawn.Add(balancer); end.After(st.Now) {
			return decision{reason: AwaitsBalancer, until: end}
		}
		return st.free(p, n, Deregistered)
	case !p.Ready:
		return decision{kind: Evict, reason: NotReady}
	}
	kind := Evict
	if balancer > 0 {
		kind = Withdraw
	}
	if !st.mayTry(st.triesOf(n), effectKey{kind, p.UID}) {
		return decision{kind: kind, reason: AwaitsRetry} // others may have the spare pod meanwhile
	}
	if !st.spare(d, st.unknown(p)) {
		return decision{reason: AwaitsReplacement}
	}
	if kind == Withdraw {
		return decision{kind: Withdraw, reason: LeavesBalancer}
	}
	return st.free(p, n, ReplacementReady)
}

// free evicts a pod that its app can spare. The Eviction API never evicts a pod
// that two budgets match; if each of them would allow it, it is deleted.
func (st *step) free(p *cluster.Pod, n *node, why Reason) decision {
	if t := st.triesOf(n)[effectKey{Evict, p.UID}]; t != nil && t.last == Blocked {
		if budgets := st.Cluster.BudgetsOf(p); len(budgets) > 1 {
			for _, b := range budgets {
				if b.Allowed < 1 {
					return decision{kind: Evict, reason: why}
				}
			}
			return decision{kind: Delete, reason: TwoBudgets}
		}
	}
	return decision{kind: Evict, reason: why}
}

// times are the moments by which things must happen to a pod, if its node has a
// deadline.
type times struct {
	withdraw time.Time // out of its endpoints
	stop     time.Time // evicted: the latest start
}

// times reckons back from the deadline. A pod that is handed off gets a share of
// the notice for that, whatever its grace: evicted at once, it would be gone
// before its replacement can be there, and few pods use all of their grace.
func (st *step) times(p *cluster.Pod, n *node, d decision) times {
	end := n.record.Deadline.Add(-st.policy.margin())
	t := times{stop: end.Add(-p.Grace)}
	balancer := st.deregistration(p)
	t.withdraw = t.stop.Add(-balancer)
	if d.kind == Handoff || d.reason == AwaitsCordons || p.ReleasedFrom() != "" {
		from := n.record.Stored
		if seen := n.record.Notice.Seen; seen.After(from) {
			from = seen // a tighter notice has come since
		}
		floor := from.Add(max(min(st.policy.handoffTime(), end.Sub(from)/2), 0))
		if t.stop.Before(floor) {
			t.stop = floor
		}
		if t.withdraw.Before(floor) {
			t.withdraw = floor
		}
	}
	if balancer == 0 || st.leaves(p) {
		t.withdraw = t.stop
	}
	return t
}

// pressing decides for a pod that can wait no longer. It is evicted; if a budget
// has blocked that, the policy decides.
func (st *step) pressing(p *cluster.Pod, n *node, d decision) decision {
	if t := n.tries[effectKey{Evict, p.UID}]; t == nil || t.last != Blocked {
		return d
	}
	if st.leaves(p) {
		return decision{reason: LeftByPolicy}
	}
	d.kind = Delete
	if d.reason == LatestStart {
		d.reason = BudgetAtLatest
	}
	return d
}

// leaves reports whether a pod is left to die with its machine when a budget
// blocks its eviction.
func (st *step) leaves(p *cluster.Pod) bool {
	return p.OnDeadline == "leave" || p.OnDeadline == "" && st.policy.Leave
}

// othersEvict reports whether somebody else evicts the node's pods: what
// Karpenter or a managed node group drains is handed off, announced and
// reported by us, and no more.
func (st *step) othersEvict(n *node) bool {
	cn := st.Cluster.Node(n.name)
	return cn != nil && st.policy.drainer(cn) != DrainEvenkeel
}

// deregistration is how long the pod's load balancer goes on sending it traffic
// after the pod has left its endpoints. Zero for a pod without one, and for one
// that cannot be taken out of its endpoints while it runs.
func (st *step) deregistration(p *cluster.Pod) time.Duration {
	if p.Labels[cluster.ServingLabel] == "" && p.Withdrawn.IsZero() {
		return 0
	}
	switch {
	case p.Deregistration >= 0:
		return p.Deregistration
	case p.Targeted:
		return st.policy.deregistration()
	}
	return 0
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

// spare takes one of a Deployment's spare pods: the available ones beyond those
// that it wants. It reports whether there was one. A pod whose end is unknown is
// not among the available ones: it needs no other to be spare.
func (st *step) spare(d *cluster.Deployment, unknown bool) bool {
	n, ok := st.surplus[d.UID]
	if !ok {
		ready, next := st.Cluster.ReadyOf(d.App(), st.Now, func(p *cluster.Pod) bool {
			leaving, unknown := st.endOf(p)
			return leaving || unknown
		})
		if !next.IsZero() {
			for _, n := range st.nodes {
				if n.apps[d.UID] {
					n.lookAt(next)
				}
			}
			st.wake(next)
		}
		n = ready - d.Replicas
		st.surplus[d.UID] = n
	}
	if unknown {
		return n >= 0
	}
	st.surplus[d.UID] = n - 1
	return n > 0
}

func (st *step) triesOf(n *node) tries {
	if n == nil {
		return st.strays
	}
	return n.tries
}

// ending are the kinds of effects after which a pod serves no more.
var ending = [...]Kind{Evict, Delete, Withdraw}

// leaving reports whether the end of a pod, or of its service, has been asked
// for, though the cluster may not show it yet.
func (st *step) leaving(p *cluster.Pod) bool {
	leaving, _ := st.endOf(p)
	return leaving
}

// unknown reports whether the end of a pod has been asked for and no answer came:
// it may have been done, and the cluster not show it yet.
func (st *step) unknown(p *cluster.Pod) bool {
	_, unknown := st.endOf(p)
	return unknown
}

// endOf answers both. Every pod of an app is asked about again and again, so it
// looks no further than it must.
func (st *step) endOf(p *cluster.Pod) (leaving, unknown bool) {
	t := st.triesOf(st.nodes[p.Node])
	if len(t) == 0 {
		return false, false
	}
	for _, k := range ending {
		if k == Withdraw && !p.Withdrawn.IsZero() {
			continue // the cluster shows it
		}
		switch tr := t[effectKey{k, p.UID}]; {
		case tr == nil:
		case tr.flying, tr.last == Done && tr.next.After(st.Now):
			leaving = true
		case tr.last == Unavailable:
			unknown = true
		}
	}
	return leaving, unknown
}

// carryOut asks for the effects of a decision.
func (st *step) carryOut(n *node, p *cluster.Pod, d decision) {
	u := urgent{
		Effect: Effect{Kind: d.kind, Node: p.Node, Reason: d.reason, Pod: p.Key, UID: p.UID},
		class:  classPod, latest: d.latest,
	}
	if n != nil {
		u.deadline = n.record.Deadline
	}
	switch d.kind {
	case Handoff:
		u.Hash, u.Deadline = p.Labels[cluster.TemplateHashLabel], n.record.Deadline
	case Withdraw:
		u.At = st.Now
	case Evict, Delete:
		u.Grace = st.grace(p, n)
	default:
		// The pod waits, and is told until when. What is about to be handed off learns
		// it with that; what is terminating or past its deadline has no use for it.
		switch d.reason {
		case AwaitsReplacement, AwaitsBalancer, JobMayFinish, LeftByPolicy, LeftToOther:
		default:
			return
		}
		if n == nil || !n.durable || n.record.Deadline.IsZero() || FormatDeadline(n.record.Deadline) == p.Deadline {
			return
		}
		u.Kind, u.Deadline = Announce, n.record.Deadline
	}
	t := st.triesOf(n)
	if tr := t[u.key()]; tr != nil && tr.flying {
		return
	} else if tr != nil && tr.next.After(st.Now) {
		st.wakeFor(n, tr.next)
		return
	}
	u.Service = st.serviceOf(p)
	if n != nil {
		u.ID = n.record.ID()
	}
	st.ask(t, u)
}

// wakeFor has a node looked at again at a time, or the strays if n is nil.
func (st *step) wakeFor(n *node, at time.Time) {
	if n == nil {
		st.wake(at)
		return
	}
	n.lookAt(at)
}

// grace is what a pod is given to end: its own, cut to the time that is left so
// that it is gone before its machine. Nil for its own.
func (st *step) grace(p *cluster.Pod, n *node) *time.Duration {
	if n == nil || n.record.Deadline.IsZero() || !st.Now.Before(n.record.Deadline) {
		return nil
	}
	left := n.record.Deadline.Add(-st.policy.margin()).Sub(st.Now)
	if left >= p.Grace {
		return nil
	}
	// The API counts grace in whole seconds, and 0 would mean: kill at once.
	left = max(left.Truncate(time.Second), time.Second)
	return &left
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

// blocking names the budgets that a pod is under, for whoever has to find out why
// it does not go.
func (st *step) blocking(k cluster.Key) string {
	p := st.Cluster.Pod(k)
	if p == nil {
		return ""
	}
	var names []string
	for _, b := range st.Cluster.BudgetsOf(p) {
		names = append(names, b.Name)
	}
	return strings.Join(names, ",")
}

// FormatDeadline returns a deadline as a pod is told it.
func FormatDeadline(t time.Time) string { return t.UTC().Format(time.RFC3339) }
