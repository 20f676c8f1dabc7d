package drainbench

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
)

// view is what is seen of a cluster from the outside, in the order in which the
// API server shows it: when nodes are cordoned and empty, how many replicas serve.
// It counts as it goes, since a reclaim of five hundred nodes is some ten thousand
// changes on a machine that has better things to do.
type view struct {
	mu    sync.Mutex
	apps  map[string]*appView
	nodes map[string]*nodeView
	pods  map[types.UID]*podView

	// onReady is told of an app each time one of its pods becomes Ready. Nil for
	// nobody.
	onReady func(app string)
}

type appView struct {
	desired int
	serving int // Ready, and nobody has asked it to go
	lowest  int
	since   time.Time // when serving last changed
	lost    float64   // ready-pod-seconds
}

type nodeView struct {
	schedulable bool // free of the taints that a new node has
	pods        int

	noticed, recorded, cordoned, emptied time.Time
}

type podView struct {
	app, node            string
	serving, terminating bool
}

func newView() *view {
	return &view{apps: make(map[string]*appView), nodes: make(map[string]*nodeView), pods: make(map[types.UID]*podView)}
}

// begin starts what is measured: the apps want so many replicas each.
func (v *view) begin(now time.Time, desired map[string]int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, n := range desired {
		a := v.app(name)
		a.desired, a.lowest, a.since, a.lost = n, a.serving, now, 0
	}
}

func (v *view) app(name string) *appView {
	a := v.apps[name]
	if a == nil {
		a = &appView{}
		v.apps[name] = a
	}
	return a
}

// count changes an app's serving replicas, and settles the account of the time
// before.
func (v *view) count(name string, by int, now time.Time) {
	a := v.app(name)
	a.settle(now)
	a.serving += by
	a.lowest = min(a.lowest, a.serving)
}

func (a *appView) settle(now time.Time) {
	if missing := a.desired - a.serving; missing > 0 {
		a.lost += float64(missing) * now.Sub(a.since).Seconds()
	}
	a.since = now
}

// pod takes in a pod as it is now.
func (v *view) pod(p *corev1.Pod, now time.Time) {
	v.mu.Lock()
	l := v.pods[p.UID]
	if l == nil {
		l = &podView{app: p.Labels[appLabel]}
		v.pods[p.UID] = l
	}
	if l.node == "" && p.Spec.NodeName != "" {
		l.node = p.Spec.NodeName
		v.node(l.node).pods++
	}
	l.terminating = p.DeletionTimestamp != nil
	was := l.serving
	l.serving = isReady(p) && !l.terminating
	switch {
	case l.serving && !was:
		v.count(l.app, 1, now)
	case was && !l.serving:
		v.count(l.app, -1, now)
	}
	tell := v.onReady
	v.mu.Unlock()
	if tell != nil && l.serving && !was {
		tell(l.app)
	}
}

// podGone takes in that a pod's object is gone.
func (v *view) podGone(uid types.UID, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.pods[uid]
	if l == nil {
		return
	}
	delete(v.pods, uid)
	if l.serving {
		v.count(l.app, -1, now)
	}
	if l.node == "" {
		return
	}
	n := v.node(l.node)
	n.pods--
	if n.pods == 0 && !n.noticed.IsZero() {
		n.emptied = now
	}
}

func (v *view) node(name string) *nodeView {
	n := v.nodes[name]
	if n == nil {
		n = &nodeView{}
		v.nodes[name] = n
	}
	return n
}

// setNode takes in a node as it is now.
func (v *view) setNode(o *corev1.Node, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.node(o.Name)
	n.schedulable = len(o.Spec.Taints) == 0
	if n.recorded.IsZero() && o.Annotations[cluster.RecordAnnotation] != "" {
		n.recorded = now
	}
	if n.cordoned.IsZero() && o.Spec.Unschedulable {
		n.cordoned = now
	}
}

// notice says that a node's notice is about to be sent.
func (v *view) notice(name string, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.node(name)
	n.noticed = now
	if n.pods == 0 {
		n.emptied = now
	}
}

// serving returns how many pods serve, and how many there are.
func (v *view) serving() (serving, all int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, a := range v.apps {
		serving += a.serving
	}
	return serving, len(v.pods)
}

// schedulable returns how many nodes take pods.
func (v *view) schedulable() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, node := range v.nodes {
		if node.schedulable {
			n++
		}
	}
	return n
}

// progress returns how far the noticed nodes are.
func (v *view) progress() (noticed, recorded, emptied int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.nodes {
		if n.noticed.IsZero() {
			continue
		}
		noticed++
		if !n.recorded.IsZero() && !n.cordoned.IsZero() {
			recorded++
		}
		if !n.emptied.IsZero() {
			emptied++
		}
	}
	return noticed, recorded, emptied
}

// reclaimed is what became of the nodes whose notice was sent.
type reclaimed struct {
	nodes, cordoned   int
	emptied           int       // before their deadline
	toCordon, toEmpty []float64 // seconds since from
	neverAsked        int       // pods still there that nobody has asked to leave
	lost              float64
	lowest            float64 // the lowest share of an app's replicas that served
}

// result sums up at the end of a case. Times count from the given moment, or from
// each node's own notice if that is later.
func (v *view) result(now, from time.Time) reclaimed {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := reclaimed{lowest: 1}
	for _, n := range v.nodes {
		if n.noticed.IsZero() {
			continue
		}
		start := n.noticed
		if from.After(start) {
			start = from
		}
		r.nodes++
		if !n.cordoned.IsZero() && !n.recorded.IsZero() {
			r.cordoned++
			at := n.cordoned
			if n.recorded.After(at) {
				at = n.recorded
			}
			r.toCordon = append(r.toCordon, max(at.Sub(start).Seconds(), 0))
		}
		if !n.emptied.IsZero() {
			if !n.emptied.After(n.noticed.Add(lead)) {
				r.emptied++
			}
			r.toEmpty = append(r.toEmpty, max(n.emptied.Sub(start).Seconds(), 0))
		}
	}
	for _, p := range v.pods {
		if n := v.nodes[p.node]; n != nil && !n.noticed.IsZero() && !p.terminating {
			r.neverAsked++
		}
	}
	for _, a := range v.apps {
		if a.desired == 0 {
			continue
		}
		a.settle(now)
		r.lost += a.lost
		r.lowest = min(r.lowest, float64(a.lowest)/float64(a.desired))
	}
	slices.Sort(r.toCordon)
	slices.Sort(r.toEmpty)
	return r
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
