// Package cluster holds the nouns of a Kubernetes cluster as Evenkeel's
// decisions see them: small plain values, and a Cluster that indexes them.
//
// A Cluster is fed with Changes and asked questions; it does not know where the
// changes come from. It is not safe for concurrent use: whoever applies the
// changes is the one who asks, so that a decision never sees half of an update.
package cluster

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// The names that Evenkeel writes into a cluster, and the ones of Kubernetes that
// it depends on.
const (
	// RecordAnnotation of a node holds the Record of its interruption.
	RecordAnnotation = "evenkeel.dev/interruption"
	// DeadlineAnnotation of a pod says when its machine goes (RFC 3339, UTC).
	DeadlineAnnotation = "evenkeel.dev/deadline"
	// HandoffLabel of a pod marks it as released by its ReplicaSet, so that a
	// replacement could start before it stops. Its value is the template hash that
	// the pod had.
	HandoffLabel = "evenkeel.dev/handoff"
	// HandoffAnnotation of a pod set to "false" opts it out of handoff.
	HandoffAnnotation = "evenkeel.dev/handoff"
	// OnDeadlineAnnotation of a pod overrides what happens at its latest start when
	// a budget still blocks its eviction: "delete" or "leave".
	OnDeadlineAnnotation = "evenkeel.dev/on-deadline"
	// WithdrawnAnnotation of a pod says since when it has been without its
	// ServingLabel (RFC 3339, UTC).
	WithdrawnAnnotation = "evenkeel.dev/withdrawn"
	// DeregistrationAnnotation of a pod says how long its load balancer goes on
	// sending it traffic after it has left its endpoints, for example "20s".
	DeregistrationAnnotation = "evenkeel.dev/deregistration"
	// ServingLabel of a pod is what a Service may select on so that the pod can be
	// taken out of its endpoints while it runs.
	ServingLabel = "evenkeel.dev/serving"
	// DrainLabel of a node says who evicts its pods: "evenkeel", "karpenter" or
	// "managed".
	DrainLabel = "evenkeel.dev/drain"
	// RebalanceLabel of a node says what a rebalance recommendation leads to:
	// "ignore", "cordon" or "handoff".
	RebalanceLabel = "evenkeel.dev/rebalance"
	// MinAvailableAnnotation and MaxUnavailableAnnotation of a PodDisruptionBudget
	// hold the limit that its service declares beside the one in its spec: the API
	// server accepts only one of the two.
	MinAvailableAnnotation   = "evenkeel.dev/min-available"
	MaxUnavailableAnnotation = "evenkeel.dev/max-unavailable"
	// PoolLabel of a node names its pool.
	PoolLabel = "evenkeel.dev/pool"
	// TemplateHashLabel is how a Deployment's ReplicaSets tell their pods apart.
	TemplateHashLabel = "pod-template-hash"
)

// UID is the identity of an object that outlives its name.
type UID string

// Key names a namespaced object within its kind.
type Key struct{ Namespace, Name string }

// String returns "namespace/name".
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Compare orders keys by namespace, then by name.
func (k Key) Compare(o Key) int {
	if k.Namespace != o.Namespace {
		if k.Namespace < o.Namespace {
			return -1
		}
		return 1
	}
	switch {
	case k.Name < o.Name:
		return -1
	case k.Name > o.Name:
		return 1
	}
	return 0
}

// Object is one of the kinds below.
type Object interface{ object() }

// Node is a machine of the cluster.
type Node struct {
	Name          string
	Instance      interruption.InstanceID // from spec.providerID; empty when it has none that we know
	Zone          string
	Pool          string
	Region        string
	InstanceType  string
	Spot          bool // bought as capacity that can be taken away
	Unschedulable bool // cordoned, by us or by a person
	Ready         bool
	Record        string // the value of RecordAnnotation, empty when there is none
	Drain         string // the value of DrainLabel
	Rebalance     string // the value of RebalanceLabel
	Created       time.Time
}

// Pod is one pod.
type Pod struct {
	Key
	UID    UID
	Node   string // empty until it is scheduled
	Labels labels.Set
	// Owner is the controller that owns the pod; its Kind is empty for a bare one.
	Owner       Owner
	Ready       bool
	ReadySince  time.Time // when Ready last became true
	Completed   bool      // every container has ended and none will start again
	Terminating bool      // somebody has asked for its deletion
	Ends        time.Time // when its grace is over, if it is Terminating
	Mirror      bool      // a static pod of the node's kubelet, nothing that the API can stop
	Grace       time.Duration
	CPUMilli    int64  // what its containers ask for together
	Memory      int64  // bytes, likewise
	Deadline    string // the value of DeadlineAnnotation
	NoHandoff   bool   // HandoffAnnotation is "false"
	OnDeadline  string // the value of OnDeadlineAnnotation
	Volumes     bool   // it holds a PersistentVolumeClaim
	Targeted    bool   // a load balancer's target group waits for it (readiness gate)
	// Deregistration is the value of DeregistrationAnnotation; negative if there is none.
	Deregistration time.Duration
	Withdrawn      time.Time // the value of WithdrawnAnnotation
}

// ReleasedFrom returns the template hash of the ReplicaSet that the pod was
// released from, or "" for a pod that was not handed off.
func (p *Pod) ReleasedFrom() string { return p.Labels[HandoffLabel] }

// Owner is a controlling owner reference.
type Owner struct {
	Kind, Name string
	UID        UID
}

// ReplicaSet is the part of a ReplicaSet that a handoff depends on.
type ReplicaSet struct {
	Key
	UID      UID
	Owner    Owner
	Hash     string // its TemplateHashLabel
	Selector labels.Selector
}

// Deployment is the part of a Deployment that a handoff depends on.
type Deployment struct {
	Key
	UID      UID
	Replicas int
	Recreate bool // strategy Recreate: its author says that two pods at once are not safe
	// MinReady is how long a pod must be Ready before it counts as available.
	MinReady time.Duration
	Template labels.Set // the labels of its pods, without the hash
}

// Controller is any other object that adopts pods by a selector: a StatefulSet,
// a Job, or a ReplicationController.
type Controller struct {
	Key
	Kind     string
	UID      UID
	Selector labels.Selector
	Replicas int        // of a StatefulSet
	Template labels.Set // of a StatefulSet: the labels of its pods
}

// Budget is a PodDisruptionBudget.
type Budget struct {
	Key
	UID      UID
	Version  string // its resourceVersion
	Selector labels.Selector
	// Min and Max are the limits in its spec: one of them at most.
	Min, Max *Limit
	// OtherMin and OtherMax are the limits in its annotations.
	OtherMin, OtherMax *Limit
	Allowed            int // how many more pods may be disrupted now
}

// Limit is a number of pods, or a share of them.
type Limit struct {
	N       int
	Percent bool
}

// Of returns the limit for so many pods. Shares are rounded up, as Kubernetes
// does for both limits of a budget.
func (l Limit) Of(replicas int) int {
	if l.Percent {
		return (l.N*replicas + 99) / 100
	}
	return l.N
}

// String writes the limit as Kubernetes does.
func (l Limit) String() string {
	if l.Percent {
		return strconv.Itoa(l.N) + "%"
	}
	return strconv.Itoa(l.N)
}

// ParseLimit reads a limit as Kubernetes writes it: "3" or "25%".
func ParseLimit(s string) (Limit, error) {
	number, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > math.MaxInt32 {
		return Limit{}, fmt.Errorf("%q is neither a number of pods nor a percentage", s)
	}
	return Limit{n, percent}, nil
}

// App is what keeps a number of equal pods running: a Deployment or a
// StatefulSet.
type App struct {
	Key
	Kind     string
	UID      UID
	Replicas int
	MinReady time.Duration
}

// Service is a Service with a selector.
type Service struct {
	Key
	Selector labels.Set
}

func (*Node) object()       {}
func (*Pod) object()        {}
func (*ReplicaSet) object() {}
func (*Deployment) object() {}
func (*Controller) object() {}
func (*Service) object()    {}
func (*Budget) object()     {}

// Equal reports whether two states of one object are the same to every decision.
// Most of what a watch shows of an object is not.
func Equal(a, b Object) bool {
	if x, ok := a.(*ReplicaSet); ok {
		y, ok := b.(*ReplicaSet)
		return ok && x.Key == y.Key && x.UID == y.UID && x.Owner == y.Owner && x.Hash == y.Hash // its selector cannot change
	}
	return reflect.DeepEqual(a, b)
}

// Change is what one watch event says: the object as it is now, or, when Gone,
// as it last was.
type Change struct {
	Object Object
	Gone   bool
}

// Update is a batch of changes. One Update of a watch is Synced: the first after
// everything in the cluster has been listed once.
type Update struct {
	Changes []Change
	Synced  bool
}
