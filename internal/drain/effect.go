package drain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Reason names why something is done, or not done. The same value stands in the
// log, in the metric's label, in the Kubernetes event and in the report.
type Reason string

// The reasons.
const (
	// Of storing a Record.
	NoticeReceived  Reason = "notice-received"  // the first notice of this node
	TighterDeadline Reason = "tighter-deadline" // a later notice moved the deadline forward
	NodeEmptied     Reason = "node-emptied"     // the last pod that had to move has left
	DrainBegins     Reason = "drain-begins"     // what was announced long ahead is near
	HookNoted       Reason = "hook-noted"       // an Auto Scaling group waits for a node that is being drained already
	HookCompleted   Reason = "hook-completed"   // the groups that waited have been told
	NoticeCancelled Reason = "notice-cancelled" // who announced it has taken it back
	VolumesLeft     Reason = "volumes-left"     // the machine is gone, and pods with volumes are still bound to its node
	MachineGone     Reason = "machine-gone"     // its kubelet is silent and nothing is left there
	HoldOver        Reason = "hold-over"        // a rebalance recommendation was not followed by an interruption
	DeadlineExpired Reason = "deadline-expired" // the machine outlived its notice
	AlreadyRecorded Reason = "already-recorded" // another source has told us before
	NoDeadline      Reason = "no-deadline"      // its kind has one, and it does not say it
	AlreadyOver     Reason = "already-over"     // taken back before this copy of it came
	NothingToCancel Reason = "nothing-to-cancel"
	Ignored         Reason = "ignored"          // the policy is to do nothing about a notice of this kind
	NotOurs         Reason = "not-our-instance" // no node of this cluster runs on the instance
	NodeGone        Reason = "node-gone"        // the node's object no longer exists
	RecordFound     Reason = "record-found"     // another one of us, or a person, has stored a Record
	RecordRemoved   Reason = "record-removed"   // another one of us, or a person, has called it off
	Resumed         Reason = "resumed"          // the Record was there when we started

	// Of moving a pod.
	HandOff          Reason = "hand-off"               // a replacement starts while the pod still serves
	ReplacementReady Reason = "replacement-ready"      // enough others are available, so the pod may go
	Deregistered     Reason = "deregistered"           // its load balancer sends it nothing any more
	LeavesBalancer   Reason = "leaves-balancer"        // it is taken out of its endpoints some time before it is stopped
	TwoBudgets       Reason = "two-budgets-allow"      // the Eviction API never evicts a pod with two budgets; both have room
	OwnerGone        Reason = "owner-gone"             // the Deployment of a released pod no longer exists
	NotReady         Reason = "not-ready"              // the pod serves nobody, so there is nothing to hand off
	NoDeployment     Reason = "no-deployment"          // only a Deployment starts a second pod beside the first: a bare pod, a StatefulSet's and the like are evicted
	StrategyRecreate Reason = "strategy-recreate"      // the Deployment's author says that two at once are not safe
	OptedOut         Reason = "opted-out"              // evenkeel.dev/handoff: "false"
	ServiceSelects   Reason = "service-selects-hash"   // a Service would stop sending traffic to the released pod
	WouldBeAdopted   Reason = "would-be-adopted"       // another controller's selector matches the released pod
	LatestStart      Reason = "latest-start"           // waiting any longer would cost the pod its termination grace
	BudgetAtLatest   Reason = "budget-at-latest-start" // a PodDisruptionBudget still blocks, and the policy is to delete

	// Of leaving a pod where it is.
	DaemonSetPod      Reason = "daemonset"
	MirrorPod         Reason = "mirror"
	CompletedPod      Reason = "completed"
	TerminatingPod    Reason = "terminating"
	JobMayFinish      Reason = "job-may-finish"
	AwaitsReplacement Reason = "awaits-replacement"
	StillDraining     Reason = "still-draining" // of a heartbeat
	AwaitsCordons     Reason = "awaits-cordons" // other nodes were noticed just now; a replacement must not land on them
	AwaitsRetry       Reason = "awaits-retry"
	AwaitsBalancer    Reason = "awaits-balancer"     // its load balancer may still send it traffic
	CordonOnly        Reason = "cordon-only"         // the policy for a rebalance recommendation
	NoInterruptionYet Reason = "no-interruption-yet" // a rebalance recommendation: what cannot be handed off stays
	LeftToOther       Reason = "left-to-other"       // Karpenter or the managed node group evicts it
	PastGrace         Reason = "past-grace"          // it should have ended a minute ago: nothing more can be done from here
	LeftByPolicy      Reason = "left-by-policy"
	PastDeadline      Reason = "past-deadline" // the machine may go at any moment
)

// Of a budget.
const (
	StricterLimit Reason = "stricter-limit" // at this number of replicas the other limit lets fewer go
)

// Kind is what an Effect does.
type Kind string

// The kinds of effects. Each may be done twice without harm.
const (
	Store     Kind = "store"     // write Record to the node, cordon, uncordon and taint it, in one compare-and-swap
	Announce  Kind = "announce"  // write Deadline to the pod
	Handoff   Kind = "handoff"   // release the pod from its ReplicaSet, and write Deadline, in one patch
	Withdraw  Kind = "withdraw"  // take the pod's serving label, and with it the pod out of its endpoints
	Evict     Kind = "evict"     // through the Eviction API: budgets are respected
	Delete    Kind = "delete"    // past the budgets, with Grace
	Heartbeat Kind = "heartbeat" // ask the Auto Scaling group that waits for Hook for more time
	Complete  Kind = "complete"  // tell it to wait no longer
	Rebudget  Kind = "rebudget"  // let Budget enforce the stricter of its two limits
	Answer    Kind = "answer"    // tell the source of notice Token what became of it
)

// Effect is one thing for the shell to do.
type Effect struct {
	Kind   Kind
	Reason Reason
	Node   string

	// ID names the interruption, as Record.ID. Empty where there is none.
	ID string
	// Again says that the last attempt at it failed.
	Again bool

	// Of Store. Old is the annotation's value that is replaced: compare-and-swap.
	Old      string
	Record   *Record // nil removes it
	Cordon   bool    // set unschedulable
	Uncordon bool    // clear unschedulable: we had set it
	Taint    bool    // add the taint node.kubernetes.io/out-of-service
	Untaint  bool    // remove it: we had added it

	// Of Announce, Handoff, Withdraw, Evict and Delete.
	Pod      cluster.Key
	UID      cluster.UID
	Service  string         // what the pod belongs to: "Deployment/web" and the like
	Hash     string         // of Handoff: the template hash to take away
	Deadline time.Time      // of Announce and Handoff; zero if there is none to tell
	At       time.Time      // of Withdraw: written to the pod
	Grace    *time.Duration // of Evict and Delete: nil leaves the pod's own

	// Of Heartbeat and Complete.
	Hook *interruption.Hook

	// Of Rebudget.
	Budget *BudgetChange

	// Of Answer.
	Token uint64
}

// BudgetChange makes a PodDisruptionBudget enforce one of its limits and keep the
// other in its annotation. One of Min and Max is to be enforced: EnforceMax says
// which.
type BudgetChange struct {
	Version    string // the resourceVersion that the decision saw: compare-and-swap
	Min, Max   cluster.Limit
	EnforceMax bool
}

// key identifies what the effect acts on, so that there is one at a time.
func (e Effect) key() effectKey {
	switch e.Kind {
	case Store:
		return effectKey{Store, cluster.UID(e.Node)}
	case Rebudget:
		return effectKey{Rebudget, e.UID + cluster.UID(strconv.FormatBool(e.Budget.EnforceMax))} // to and fro are two things
	case Heartbeat, Complete:
		return effectKey{e.Kind, cluster.UID(e.Hook.Group + "/" + e.Hook.Name + "/" + e.Hook.Token)}
	}
	return effectKey{e.Kind, e.UID}
}

type effectKey struct {
	kind Kind
	on   cluster.UID
}

// String describes the effect in one line, as in the tests' scripts.
func (e Effect) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Node, e.Kind)
	switch e.Kind {
	case Store:
		switch {
		case e.Record == nil:
			b.WriteString(" nothing")
		case !e.Record.Closed.IsZero():
			b.WriteString(" closed")
		case !e.Record.Emptied.IsZero():
			b.WriteString(" emptied")
		default:
			b.WriteString(" record")
		}
		if e.Cordon {
			b.WriteString(" and cordon")
		}
		if e.Uncordon {
			b.WriteString(" and uncordon")
		}
		if e.Taint {
			b.WriteString(" and taint")
		}
		if e.Untaint {
			b.WriteString(" and untaint")
		}
	case Heartbeat, Complete:
		fmt.Fprintf(&b, " %s of %s", e.Hook.Name, e.Hook.Group)
	case Rebudget:
		if e.Budget.EnforceMax {
			fmt.Fprintf(&b, " %s maxUnavailable=%v", e.Pod.Name, e.Budget.Max)
		} else {
			fmt.Fprintf(&b, " %s minAvailable=%v", e.Pod.Name, e.Budget.Min)
		}
	case Answer:
		fmt.Fprintf(&b, " #%d", e.Token)
	default:
		fmt.Fprintf(&b, " %s", e.Pod.Name)
	}
	if e.Grace != nil {
		fmt.Fprintf(&b, " grace=%v", *e.Grace)
	}
	fmt.Fprintf(&b, " (%s)", e.Reason)
	return b.String()
}

// Outcome is how an effect ended.
type Outcome string

// The outcomes.
const (
	Done        Outcome = "done"
	Conflict    Outcome = "conflict"    // the object has changed meanwhile: look again
	Blocked     Outcome = "blocked"     // a PodDisruptionBudget does not allow it now
	Missing     Outcome = "missing"     // the object is no longer there: as good as done
	Unavailable Outcome = "unavailable" // the API could not be reached, or was too busy: again soon
	Refused     Outcome = "refused"     // the API will not do it as things are (RBAC, admission, an invalid object)
)

// Result reports an effect's outcome back to the next Step.
type Result struct {
	Effect  Effect
	Outcome Outcome
	At      time.Time
}
