package drain

import (
	"cmp"
	"fmt"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Policy holds what a platform's owner decides about drains.
type Policy struct {
	// Margin is kept free between the end of a pod's grace and the deadline, since
	// kubelets and clocks are not exact. If zero, defaults to 2 s.
	Margin time.Duration
	// Settle is how long after the latest notice handoffs wait, so that
	// replacements do not start on a node whose notice is about to be read: a pool
	// goes as a whole. If zero, defaults to 300 ms.
	Settle time.Duration
	// HandoffTime is what a handoff gets at least, also where a pod's grace leaves
	// less of the notice: its replacement needs time to start. It never takes more
	// than half of the notice, so half of it is left as grace. If zero, defaults to
	// 15 s.
	HandoffTime time.Duration
	// Deregistration is how long the load balancer of a pod goes on sending it
	// traffic after the pod has left its endpoints, where the pod does not say it
	// itself. If zero, defaults to 15 s.
	Deregistration time.Duration
	// Leave says that a pod whose eviction a budget still blocks at its latest start
	// is left to die with its machine. If false it is deleted with the grace that
	// is left. A pod's own annotation decides before this.
	Leave bool
	// Expire is how long after its deadline a node that is still there is taken to
	// have been spared, and given back. If zero, defaults to 5 min.
	Expire time.Duration

	// ScheduledLead is how long before the announced start of maintenance its
	// machine is emptied. If zero, defaults to 1 h.
	ScheduledLead time.Duration
	// HookTime is what a drain may take for which an Auto Scaling group waits, if
	// the notice does not say it. If zero, defaults to 15 min.
	HookTime time.Duration
	// Heartbeat is how often such a group is asked for more time. If zero, defaults
	// to 30 s.
	Heartbeat time.Duration
	// RebalanceHold is how long a node stays cordoned after a rebalance
	// recommendation that no interruption follows. If zero, defaults to 30 min.
	RebalanceHold time.Duration

	// Rebalance says what a rebalance recommendation leads to. If empty, defaults to
	// RebalanceIgnore.
	Rebalance RebalancePolicy
	// Drainer says who evicts. If empty, defaults to DrainEvenkeel.
	Drainer Drainer
	// Pools holds what differs by pool. A node's own labels decide before this.
	Pools map[string]PoolPolicy
	// KeepVolumes says that the node of a machine that is gone never gets the taint
	// node.kubernetes.io/out-of-service: its volumes are then detached after 6
	// minutes.
	KeepVolumes bool
}

// PoolPolicy holds what a pool's owner decides otherwise. Empty fields say nothing.
type PoolPolicy struct {
	Rebalance RebalancePolicy
	Drainer   Drainer
}

// RebalancePolicy says what a rebalance recommendation leads to.
type RebalancePolicy string

// What a rebalance recommendation may lead to.
const (
	RebalanceIgnore  RebalancePolicy = "ignore"
	RebalanceCordon  RebalancePolicy = "cordon"  // nothing new starts on the node
	RebalanceHandoff RebalancePolicy = "handoff" // and what can be handed off, is; the rest stays
)

// Drainer says who evicts the pods of a node that goes.
type Drainer string

// Who may evict.
const (
	DrainEvenkeel  Drainer = "evenkeel"
	DrainKarpenter Drainer = "karpenter" // Karpenter's interruption handling
	DrainManaged   Drainer = "managed"   // an EKS managed node group
)

// ParseRebalance reads a RebalancePolicy.
func ParseRebalance(s string) (RebalancePolicy, error) {
	switch p := RebalancePolicy(s); p {
	case RebalanceIgnore, RebalanceCordon, RebalanceHandoff:
		return p, nil
	}
	return "", fmt.Errorf("%q is none of ignore, cordon and handoff", s)
}

// ParseDrainer reads a Drainer.
func ParseDrainer(s string) (Drainer, error) {
	if d := Drainer(s); d.known() {
		return d, nil
	}
	return "", fmt.Errorf("%q is none of evenkeel, karpenter and managed", s)
}

func (d Drainer) known() bool {
	return d == DrainEvenkeel || d == DrainKarpenter || d == DrainManaged
}

func (p Policy) margin() time.Duration         { return cmp.Or(p.Margin, 2*time.Second) }
func (p Policy) settle() time.Duration         { return cmp.Or(p.Settle, 300*time.Millisecond) }
func (p Policy) handoffTime() time.Duration    { return cmp.Or(p.HandoffTime, 15*time.Second) }
func (p Policy) deregistration() time.Duration { return cmp.Or(p.Deregistration, 15*time.Second) }
func (p Policy) expire() time.Duration         { return cmp.Or(p.Expire, 5*time.Minute) }
func (p Policy) scheduledLead() time.Duration  { return cmp.Or(p.ScheduledLead, time.Hour) }
func (p Policy) hookTime() time.Duration       { return cmp.Or(p.HookTime, 15*time.Minute) }
func (p Policy) heartbeat() time.Duration      { return cmp.Or(p.Heartbeat, 30*time.Second) }
func (p Policy) rebalanceHold() time.Duration  { return cmp.Or(p.RebalanceHold, 30*time.Minute) }

// rebalance is the policy for one node. A label that says nothing known is passed
// over.
func (p Policy) rebalance(n *cluster.Node) RebalancePolicy {
	if own, err := ParseRebalance(n.Rebalance); err == nil {
		return own
	}
	return cmp.Or(p.Pools[n.Pool].Rebalance, p.Rebalance, RebalanceIgnore)
}

func (p Policy) drainer(n *cluster.Node) Drainer {
	if own := Drainer(n.Drain); own.known() {
		return own
	}
	return cmp.Or(p.Pools[n.Pool].Drainer, p.Drainer, DrainEvenkeel)
}

// expiry is when a node that is still there is given back. Zero for never: what a
// person has asked for, a person calls off.
func (p Policy) expiry(r *Record) time.Time {
	switch {
	case r.Notice.Kind == interruption.ManualDrain:
		return time.Time{}
	case r.Deadline.IsZero():
		return r.Stored.Add(p.rebalanceHold())
	}
	return r.Deadline.Add(p.expire())
}

// final reports whether a machine that was announced in this way does not come
// back by itself. Maintenance may be a reboot.
func final(k interruption.Kind) bool {
	switch k {
	case interruption.SpotInterruption, interruption.StateChange, interruption.CapacityReservation, interruption.LifecycleHook:
		return true
	}
	return false
}

// earlier reports whether deadline a leaves less time than b. The zero time
// stands for none.
func earlier(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b.Add(-sameDeadline)))
}

// sameDeadline is how far apart the deadlines of two notices of one instance may
// be and still mean the same interruption: sources round differently.
const sameDeadline = time.Second
