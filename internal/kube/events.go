package kube

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// ReportingController names the author of our Kubernetes Events.
const ReportingController = "evenkeel.dev/controller"

// How many Events may wait. A pool that goes has more to tell of its pods than
// anybody reads, so those give way.
const (
	nodeEvents = 2000
	podEvents  = 1000
	capEvents  = 100
)

// Events writes what happens to interruptions as Kubernetes Events of the nodes and
// pods. They are for people who look, and best effort: what cannot be written is
// dropped. Use NewEvents to make one.
type Events struct {
	api      kubernetes.Interface
	identity string
	log      *slog.Logger
	nodes    chan drain.Event
	pods     chan drain.Event
	capacity chan capacity.Event
	dropped  atomic.Int64
}

// NewEvents returns Events that are written through api. That should be a client
// with a limit of its own, so that no cordon waits behind an Event. The identity
// names this process.
func NewEvents(api kubernetes.Interface, identity string, log *slog.Logger) *Events {
	return &Events{
		api: api, identity: identity[:min(len(identity), 128)], log: log,
		nodes: make(chan drain.Event, nodeEvents), pods: make(chan drain.Event, podEvents),
		capacity: make(chan capacity.Event, capEvents),
	}
}

// Observe takes one event in. It returns at once.
func (v *Events) Observe(e drain.Event) {
	queue := v.nodes
	if e.Kind == drain.EventPod {
		queue = v.pods
	}
	if _, ok := object(e, v.identity); !ok {
		return
	}
	select {
	case queue <- e:
	default:
		v.dropped.Add(1)
	}
}

// ObserveCapacity takes in one event of a pool's capacity. It returns at once.
func (v *Events) ObserveCapacity(e capacity.Event) {
	if _, ok := capacityObject(e, v.identity); !ok {
		return
	}
	select {
	case v.capacity <- e:
	default:
		v.dropped.Add(1)
	}
}

// next waits for something to write; false when ctx ends. Nodes come before the rest.
func (v *Events) next(ctx context.Context) (o eventsv1.Event, ok bool) {
	var e drain.Event
	select {
	case e = <-v.nodes:
	default:
		select {
		case e = <-v.nodes:
		case e = <-v.pods:
		case c := <-v.capacity:
			return capacityObject(c, v.identity)
		case <-ctx.Done():
			return o, false
		}
	}
	return object(e, v.identity)
}

// Run writes until ctx ends.
func (v *Events) Run(ctx context.Context) error {
	failing := false
	for {
		o, ok := v.next(ctx)
		if !ok {
			return nil
		}
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := v.api.EventsV1().Events(o.Namespace).Create(call, &o, metav1.CreateOptions{})
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			v.log.Warn("writing Kubernetes Events; more failures are not logged until one is written", "err", err)
		case err == nil:
			if n := v.dropped.Swap(0); n > 0 {
				v.log.Info("Kubernetes Events were dropped: too many at once", "count", n)
			}
		}
		failing = err != nil
	}
}

// object makes the Kubernetes Event of an event; false if there is none.
func object(e drain.Event, identity string) (eventsv1.Event, bool) {
	what, ok := describe(e)
	if !ok {
		return eventsv1.Event{}, false
	}
	o := eventsv1.Event{
		EventTime:           metav1.NewMicroTime(e.At),
		ReportingController: ReportingController, ReportingInstance: identity,
		Type: what.kind, Reason: what.reason, Action: what.action, Note: what.note[:min(len(what.note), 1024)],
	}
	if e.Kind == drain.EventPod {
		o.Namespace = e.Pod.Namespace
		o.Regarding = corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: e.Pod.Namespace, Name: e.Pod.Name, UID: types.UID(e.UID)}
		o.Related = &corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: e.Node}
	} else {
		// A node's Events live in the namespace default, and kubectl describe finds
		// those whose UID is the node's name, as the kubelet writes it.
		o.Namespace = metav1.NamespaceDefault
		o.Regarding = corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: e.Node, UID: types.UID(e.Node)}
	}
	name := o.Regarding.Name
	o.Name = fmt.Sprintf("%s.%s", name[:min(len(name), 220)], strings.ToLower(rand.Text()[:16]))
	return o, true
}

// capacityObject makes the Kubernetes Event of what happens to a pool's capacity;
// false if there is none. It is about the NodePool where there is one. A pool of
// something else is no object of the API, but its Events are found by its name.
func capacityObject(e capacity.Event, identity string) (eventsv1.Event, bool) {
	what := description{kind: corev1.EventTypeNormal, action: "Advise", note: e.Text}
	switch e.Kind {
	case capacity.Reclaimed:
		what.kind, what.reason = corev1.EventTypeWarning, "PoolReclaimed"
	case capacity.Returned:
		what.reason = "PoolReturned"
	case capacity.Advised:
		what.reason = "CapacityAdvised"
	case capacity.Marked:
		what.reason, what.action = "CapacityChanged", "Change"
	case capacity.Left:
		what.kind, what.reason, what.action = corev1.EventTypeWarning, "CapacityLeftAlone", "Change"
	case capacity.Hindered:
		what.kind, what.reason, what.action = corev1.EventTypeWarning, "CapacityNotChanged", "Change"
	default:
		return eventsv1.Event{}, false
	}
	if e.Kind != capacity.Reclaimed && e.Reason != "" {
		what.note += " (" + string(e.Reason) + ")"
	}
	o := eventsv1.Event{
		EventTime:           metav1.NewMicroTime(e.At),
		ReportingController: ReportingController, ReportingInstance: identity,
		Type: what.kind, Reason: what.reason, Action: what.action, Note: what.note[:min(len(what.note), 1024)],
		Regarding: corev1.ObjectReference{Kind: "Pool", APIVersion: "evenkeel.dev/v1", Name: e.Group.Pool},
	}
	if e.Group.Kind == capacity.NodePool {
		o.Regarding = corev1.ObjectReference{Kind: "NodePool", APIVersion: "karpenter.sh/v1", Name: e.Group.Name, UID: types.UID(e.Group.UID)}
	}
	o.Namespace = metav1.NamespaceDefault
	name := o.Regarding.Name
	o.Name = fmt.Sprintf("%s.%s", name[:min(len(name), 220)], strings.ToLower(rand.Text()[:16]))
	return o, true
}

type description struct{ kind, reason, action, note string }

// describe says an event in the words of Kubernetes. The reasons are stable.
func describe(e drain.Event) (description, bool) {
	const normal, warning = corev1.EventTypeNormal, corev1.EventTypeWarning
	deadline := "without a deadline"
	if !e.Record.Deadline.IsZero() {
		deadline = "by " + e.Record.Deadline.UTC().Format(time.RFC3339)
	}
	id := "; interruption " + e.Record.ID()
	switch e.Kind {
	case drain.EventNoticed:
		if e.Reason == drain.Resumed {
			return description{}, false // whoever was there before has written it
		}
		return description{warning, "InterruptionNoticed", "Cordon", fmt.Sprintf("The instance %s goes away %s (%s)%s", e.Record.Notice.Instance, deadline, e.Record.Notice.Kind, id)}, true
	case drain.EventTightened:
		return description{warning, "InterruptionTightened", "Cordon", fmt.Sprintf("The instance %s goes away earlier than was noticed: %s%s", e.Record.Notice.Instance, deadline, id)}, true
	case drain.EventEmptied:
		return description{normal, "NodeEmptied", "Drain", "The last pod that had to move has left" + id}, true
	case drain.EventMissed:
		return description{warning, "DeadlineMissed", "Drain", fmt.Sprintf("The deadline has come, and %d pods are still there%s", e.Left, id)}, true
	case drain.EventCancelled:
		return description{normal, "InterruptionCancelled", "Uncordon", fmt.Sprintf("The notice was taken back (%s)%s", e.Reason, id)}, true
	case drain.EventExpired:
		return description{normal, "InterruptionExpired", "Uncordon", "The machine has outlived its deadline, and is given back" + id}, true
	case drain.EventPod:
	default:
		return description{}, false
	}
	why := fmt.Sprintf(" (%s): node %s goes away %s%s", e.Reason, e.Node, deadline, id)
	switch {
	case e.Outcome == drain.Blocked:
		by := "a PodDisruptionBudget"
		if budget := e.BudgetName(); budget != "" {
			by = "the PodDisruptionBudget " + budget
		}
		return description{warning, "EvictionBlocked", "Evict", "Its eviction is refused by " + by + why}, true
	case e.Outcome != drain.Done:
		return description{}, false
	case e.Effect == drain.Handoff:
		return description{normal, "HandedOff", "Handoff", "Released, so that a replacement starts while it still serves" + why}, true
	case e.Effect == drain.Withdraw:
		return description{normal, "Withdrawn", "Withdraw", "Taken out of its endpoints, some time before it is stopped" + why}, true
	case drain.Method(e.Effect, e.Reason) == drain.MethodDelete:
		return description{warning, "DeletedPastBudget", "Delete", "Deleted with the grace that is left" + why}, true
	case e.Effect == drain.Evict, e.Effect == drain.Delete:
		return description{normal, "Evicted", "Evict", "Evicted" + why}, true
	}
	return description{}, false
}
