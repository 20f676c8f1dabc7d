package cluster

import (
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Cluster is what is known of a cluster now. Use New to make one.
// The values that it returns belong to it: they are read, never changed.
type Cluster struct {
	nodes      map[string]*Node
	byInstance map[interruption.InstanceID]string
	recorded   map[string]*Node // nodes that carry a Record

	pods     map[Key]*Pod
	onNode   map[string]map[Key]*Pod
	owned    map[UID]map[Key]*Pod // by the UID of the controlling owner; without those that a ReplicaSet is about to let go
	released map[Key]*Pod
	left     map[hashKey]map[Key]*Pod // released pods by namespace and the hash that they had
	from     map[UID]*ReplicaSet      // what released pods were found to come from; forgotten when any ReplicaSet changes

	replicaSets map[Key]*ReplicaSet
	setsOf      map[UID]map[Key]*ReplicaSet     // by the UID of their Deployment
	setsHashed  map[hashKey]map[Key]*ReplicaSet // by namespace and template hash
	setsWithout map[string]map[Key]*ReplicaSet  // by namespace: those that match pods without a hash
	deployments map[Key]*Deployment
	controllers map[string]map[kindKey]*Controller // by namespace
	services    map[string]map[Key]*Service        // by namespace: those that select on the hash
	budgets     map[string]map[Key]*Budget         // by namespace
	twoLimits   map[Key]*Budget                    // budgets that declare both limits

	changed Changed
}

// Changed says what may be decided differently since it was last taken.
type Changed struct {
	Nodes   map[string]bool // by name: the node itself, or a pod on it
	Apps    map[UID]bool    // a pod of it, or how many it wants
	Rules   bool            // what a handoff depends on beside the pod
	Budgets bool            // a budget, or how many pods there should be under one
}

func unchanged() Changed {
	return Changed{Nodes: make(map[string]bool), Apps: make(map[UID]bool)}
}

// TakeChanged returns what has changed since it was last called. Whoever decides
// looks at that alone. There is one who asks: what one takes, another does not see.
func (c *Cluster) TakeChanged() Changed {
	out := c.changed
	c.changed = unchanged()
	return out
}

type kindKey struct {
	kind string
	Key
}

type hashKey struct{ namespace, hash string }

// New returns an empty Cluster.
func New() *Cluster {
	return &Cluster{
		nodes:       make(map[string]*Node),
		byInstance:  make(map[interruption.InstanceID]string),
		recorded:    make(map[string]*Node),
		pods:        make(map[Key]*Pod),
		onNode:      make(map[string]map[Key]*Pod),
		owned:       make(map[UID]map[Key]*Pod),
		released:    make(map[Key]*Pod),
		left:        make(map[hashKey]map[Key]*Pod),
		from:        make(map[UID]*ReplicaSet),
		replicaSets: make(map[Key]*ReplicaSet),
		setsOf:      make(map[UID]map[Key]*ReplicaSet),
		setsHashed:  make(map[hashKey]map[Key]*ReplicaSet),
		deployments: make(map[Key]*Deployment),
		controllers: make(map[string]map[kindKey]*Controller),
		services:    make(map[string]map[Key]*Service),
		setsWithout: make(map[string]map[Key]*ReplicaSet),
		budgets:     make(map[string]map[Key]*Budget),
		twoLimits:   make(map[Key]*Budget),
		changed:     unchanged(),
	}
}

// Apply brings the Cluster up to date with one change.
func (c *Cluster) Apply(ch Change) {
	switch o := ch.Object.(type) {
	case *Node:
		c.applyNode(o, ch.Gone)
	case *Pod:
		c.applyPod(o, ch.Gone)
	case *ReplicaSet:
		clear(c.from)
		set(c.replicaSets, o.Key, o, ch.Gone)
		setIn(c.setsOf, o.Owner.UID, o.Key, o, ch.Gone)
		setIn(c.setsHashed, hashKey{o.Namespace, o.Hash}, o.Key, o, ch.Gone)
		setIn(c.setsWithout, o.Namespace, o.Key, o, ch.Gone || needsHash(o.Selector))
		c.changed.Rules = true
		c.changed.Apps[o.Owner.UID] = true
	case *Deployment:
		set(c.deployments, o.Key, o, ch.Gone)
		c.changed.Rules, c.changed.Budgets = true, true
		c.changed.Apps[o.UID] = true
	case *Controller:
		setIn(c.controllers, o.Namespace, kindKey{o.Kind, o.Key}, o, ch.Gone)
		c.changed.Rules = true
		c.changed.Budgets = c.changed.Budgets || o.Kind == "StatefulSet"
		c.changed.Apps[o.UID] = true
	case *Service:
		_, hash := o.Selector[TemplateHashLabel]
		setIn(c.services, o.Namespace, o.Key, o, ch.Gone || !hash)
		c.changed.Rules = c.changed.Rules || hash
	case *Budget:
		setIn(c.budgets, o.Namespace, o.Key, o, ch.Gone)
		set(c.twoLimits, o.Key, o, ch.Gone || o.OtherMin == nil && o.OtherMax == nil)
		c.changed.Budgets = true
	}
}

// needsHash reports whether a selector matches no pod without a template hash, as
// those of a Deployment's ReplicaSets.
func needsHash(s labels.Selector) bool {
	_, exact := s.RequiresExactMatch(TemplateHashLabel)
	return exact
}

func (c *Cluster) applyNode(n *Node, gone bool) {
	if old := c.nodes[n.Name]; old != nil && c.byInstance[old.Instance] == n.Name {
		delete(c.byInstance, old.Instance)
	}
	set(c.nodes, n.Name, n, gone)
	set(c.recorded, n.Name, n, gone || n.Record == "")
	if !gone && n.Instance != "" {
		c.byInstance[n.Instance] = n.Name
	}
	c.changed.Nodes[n.Name] = true
}

func (c *Cluster) applyPod(p *Pod, gone bool) {
	if old := c.pods[p.Key]; old != nil {
		c.touch(old)
		setIn(c.onNode, old.Node, p.Key, old, true)
		setIn(c.owned, old.Owner.UID, p.Key, old, true)
		setIn(c.left, hashKey{old.Namespace, old.ReleasedFrom()}, p.Key, old, true)
	}
	set(c.pods, p.Key, p, gone)
	set(c.released, p.Key, p, gone || p.ReleasedFrom() == "")
	if gone {
		c.touch(p)
		delete(c.from, p.UID)
		return
	}
	if p.Node != "" {
		setIn(c.onNode, p.Node, p.Key, p, false)
	}
	from := p.ReleasedFrom()
	if p.Owner.UID != "" && (from == "" || p.Owner.Kind != "ReplicaSet") {
		setIn(c.owned, p.Owner.UID, p.Key, p, false)
	}
	if from != "" {
		setIn(c.left, hashKey{p.Namespace, from}, p.Key, p, false)
	}
	c.touch(p)
}

// touch notes that decisions about a pod, its node and its app may change.
func (c *Cluster) touch(p *Pod) {
	if p.Node != "" {
		c.changed.Nodes[p.Node] = true
	}
	if rs := c.replicaSetOf(p); rs != nil {
		c.changed.Apps[rs.Owner.UID] = true
	} else if p.Owner.UID != "" {
		c.changed.Apps[p.Owner.UID] = true
	}
}

func set[K comparable, V any](m map[K]V, k K, v V, gone bool) {
	if gone {
		delete(m, k)
		return
	}
	m[k] = v
}

// setIn is set one level down; it leaves no empty inner map behind.
func setIn[O, K comparable, V any](m map[O]map[K]V, o O, k K, v V, gone bool) {
	in := m[o]
	if gone {
		delete(in, k)
		if len(in) == 0 {
			delete(m, o)
		}
		return
	}
	if in == nil {
		in = make(map[K]V)
		m[o] = in
	}
	in[k] = v
}

// Node returns the node of that name, or nil.
func (c *Cluster) Node(name string) *Node { return c.nodes[name] }

// NodeOf returns the node that runs on an instance, or nil.
func (c *Cluster) NodeOf(id interruption.InstanceID) *Node { return c.nodes[c.byInstance[id]] }

// Recorded returns the nodes that carry a Record, by name.
func (c *Cluster) Recorded() []*Node {
	out := make([]*Node, 0, len(c.recorded))
	for _, n := range c.recorded {
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Pod returns the pod of that name, or nil.
func (c *Cluster) Pod(k Key) *Pod { return c.pods[k] }

// PodsOn returns the pods on a node, by key.
func (c *Cluster) PodsOn(node string) []*Pod { return sorted(c.onNode[node]) }

// Released returns the pods that were handed off, still exist, and are not on a
// node for which without returns true, by key.
func (c *Cluster) Released(without func(node string) bool) []*Pod {
	var out []*Pod
	for _, p := range c.released {
		if !without(p.Node) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *Pod) int { return a.Key.Compare(b.Key) })
	return out
}

func sorted(m map[Key]*Pod) []*Pod {
	out := make([]*Pod, 0, len(m))
	for _, p := range m {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Pod) int { return a.Key.Compare(b.Key) })
	return out
}

// AppOf returns the Deployment or StatefulSet that a pod belongs to.
func (c *Cluster) AppOf(p *Pod) (App, bool) {
	if d := c.DeploymentOf(p); d != nil {
		return d.App(), true
	}
	if p.Owner.Kind == "StatefulSet" {
		if s := c.controllers[p.Namespace][kindKey{p.Owner.Kind, Key{p.Namespace, p.Owner.Name}}]; s != nil && s.UID == p.Owner.UID {
			return App{Key: s.Key, Kind: s.Kind, UID: s.UID, Replicas: s.Replicas}, true
		}
	}
	return App{}, false
}

// App returns the Deployment as an App.
func (d *Deployment) App() App {
	return App{Key: d.Key, Kind: "Deployment", UID: d.UID, Replicas: d.Replicas, MinReady: d.MinReady}
}

// DeploymentOf returns the Deployment that a pod belongs to: through its
// ReplicaSet, or, for a released pod, through the ReplicaSet that it came from.
// It is nil when there is none (any more).
func (c *Cluster) DeploymentOf(p *Pod) *Deployment {
	rs := c.replicaSetOf(p)
	if rs == nil || rs.Owner.Kind != "Deployment" {
		return nil
	}
	d := c.deployments[Key{p.Namespace, rs.Owner.Name}]
	if d == nil || d.UID != rs.Owner.UID {
		return nil
	}
	return d
}

func (c *Cluster) replicaSetOf(p *Pod) *ReplicaSet {
	hash := p.ReleasedFrom()
	if hash == "" {
		if p.Owner.Kind != "ReplicaSet" {
			return nil
		}
		rs := c.replicaSets[Key{p.Namespace, p.Owner.Name}]
		if rs == nil || rs.UID != p.Owner.UID {
			return nil
		}
		return rs
	}
	return c.releasedBy(p, hash)
}

// releasedBy is replicaSetOf for a pod that was released with that hash.
func (c *Cluster) releasedBy(p *Pod, hash string) *ReplicaSet {
	if rs, ok := c.from[p.UID]; ok {
		return rs
	}
	// A released pod has no owner. Its set is the one whose selector would match it
	// if it still had the hash.
	was := hashed{p.Labels, hash}
	var found *ReplicaSet
	for _, rs := range c.setsHashed[hashKey{p.Namespace, hash}] {
		if rs.Selector.Matches(was) && (found == nil || rs.Key.Compare(found.Key) < 0) {
			found = rs
		}
	}
	c.from[p.UID] = found
	return found
}

// hashed is a pod's labels with another template hash, or with none.
type hashed struct {
	labels.Set
	hash string
}

func (h hashed) Has(label string) bool {
	if label == TemplateHashLabel {
		return h.hash != ""
	}
	return h.Set.Has(label)
}

func (h hashed) Get(label string) string {
	if label == TemplateHashLabel {
		return h.hash
	}
	return h.Set.Get(label)
}

func (h hashed) Lookup(label string) (string, bool) {
	if label == TemplateHashLabel {
		return h.hash, h.hash != ""
	}
	return h.Set.Lookup(label)
}

// ReadyOf counts the pods of an app that are available at the given time: Ready
// for long enough, not terminating and not withdrawn; released ones among them,
// since they serve until they go. Pods for which without returns true are left out.
// The second result is the first moment at which a pod that is already Ready
// will become available; zero when there is none.
func (c *Cluster) ReadyOf(a App, now time.Time, without func(*Pod) bool) (int, time.Time) {
	var n int
	var next time.Time
	count := func(p *Pod) {
		if !p.Ready || p.Terminating || !p.Withdrawn.IsZero() || without(p) {
			return
		}
		if at := p.ReadySince.Add(a.MinReady); a.MinReady > 0 && at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			return
		}
		n++
	}
	if a.Kind != "Deployment" {
		for _, p := range c.owned[a.UID] {
			count(p)
		}
		return n, next
	}
	for _, rs := range c.setsOf[a.UID] {
		for _, p := range c.owned[rs.UID] {
			count(p)
		}
		for _, p := range c.left[hashKey{rs.Namespace, rs.Hash}] {
			if c.releasedBy(p, rs.Hash) == rs {
				count(p)
			}
		}
	}
	return n, next
}

// SelectsHash returns a Service that selects the pod by its template hash: once
// the hash is gone, the Service would no longer send it traffic. Nil if none does.
func (c *Cluster) SelectsHash(p *Pod) *Service {
	var found *Service
	for _, s := range c.services[p.Namespace] {
		if labels.SelectorFromSet(s.Selector).Matches(p.Labels) && (found == nil || s.Key.Compare(found.Key) < 0) {
			found = s
		}
	}
	return found
}

// Adopter returns an object that would adopt the pod if its template hash were
// removed, as "Kind/name". Empty if none would.
func (c *Cluster) Adopter(p *Pod) string {
	without := hashed{p.Labels, ""}
	var found string
	note := func(kind, name string) {
		if s := kind + "/" + name; found == "" || s < found {
			found = s
		}
	}
	for k, o := range c.controllers[p.Namespace] {
		if o.Selector.Matches(without) {
			note(k.kind, k.Name)
		}
	}
	for _, rs := range c.setsWithout[p.Namespace] {
		if rs.Selector.Matches(without) {
			note("ReplicaSet", rs.Name)
		}
	}
	return found
}

// BudgetsOf returns the budgets that a pod is under, by key.
func (c *Cluster) BudgetsOf(p *Pod) []*Budget {
	var out []*Budget
	for _, b := range c.budgets[p.Namespace] {
		if b.Selector.Matches(p.Labels) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *Budget) int { return a.Key.Compare(b.Key) })
	return out
}

// TwoLimits returns the budgets that declare both limits, by key.
func (c *Cluster) TwoLimits() []*Budget {
	out := make([]*Budget, 0, len(c.twoLimits))
	for _, b := range c.twoLimits {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *Budget) int { return a.Key.Compare(b.Key) })
	return out
}

// ReplicasUnder returns how many pods there should be under a budget: those that
// its Deployments and StatefulSets want.
func (c *Cluster) ReplicasUnder(b *Budget) int {
	n := 0
	for _, d := range c.deployments {
		if d.Namespace == b.Namespace && b.Selector.Matches(d.Template) {
			n += d.Replicas
		}
	}
	for _, o := range c.controllers[b.Namespace] {
		if o.Kind == "StatefulSet" && b.Selector.Matches(o.Template) {
			n += o.Replicas
		}
	}
	return n
}

// App returns an app as it is now. It is false, and wants nothing, when it is gone.
func (c *Cluster) App(a App) (App, bool) {
	if a.Kind == "Deployment" {
		if d := c.deployments[a.Key]; d != nil && d.UID == a.UID {
			return d.App(), true
		}
	} else if s := c.controllers[a.Namespace][kindKey{a.Kind, a.Key}]; s != nil && s.UID == a.UID {
		a.Replicas = s.Replicas
		return a, true
	}
	a.Replicas = 0
	return a, false
}
