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
	owned    map[UID]map[Key]*Pod // by the UID of the controlling owner
	released map[Key]*Pod

	replicaSets map[Key]*ReplicaSet
	setsOf      map[UID]map[Key]*ReplicaSet     // by the UID of their Deployment
	setsHashed  map[hashKey]map[Key]*ReplicaSet // by namespace and template hash
	deployments map[Key]*Deployment
	controllers map[string]map[kindKey]*Controller // by namespace
	services    map[string]map[Key]*Service        // by namespace
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
		replicaSets: make(map[Key]*ReplicaSet),
		setsOf:      make(map[UID]map[Key]*ReplicaSet),
		setsHashed:  make(map[hashKey]map[Key]*ReplicaSet),
		deployments: make(map[Key]*Deployment),
		controllers: make(map[string]map[kindKey]*Controller),
		services:    make(map[string]map[Key]*Service),
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
		set(c.replicaSets, o.Key, o, ch.Gone)
		setIn(c.setsOf, o.Owner.UID, o.Key, o, ch.Gone)
		setIn(c.setsHashed, hashKey{o.Namespace, o.Hash}, o.Key, o, ch.Gone)
	case *Deployment:
		set(c.deployments, o.Key, o, ch.Gone)
	case *Controller:
		setIn(c.controllers, o.Namespace, kindKey{o.Kind, o.Key}, o, ch.Gone)
	case *Service:
		setIn(c.services, o.Namespace, o.Key, o, ch.Gone)
	}
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
}

func (c *Cluster) applyPod(p *Pod, gone bool) {
	if old := c.pods[p.Key]; old != nil {
		setIn(c.onNode, old.Node, p.Key, old, true)
		setIn(c.owned, old.Owner.UID, p.Key, old, true)
	}
	set(c.pods, p.Key, p, gone)
	set(c.released, p.Key, p, gone || p.ReleasedFrom() == "")
	if gone {
		return
	}
	if p.Node != "" {
		setIn(c.onNode, p.Node, p.Key, p, false)
	}
	if p.Owner.UID != "" {
		setIn(c.owned, p.Owner.UID, p.Key, p, false)
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

// Released returns the pods that were handed off and still exist, by key.
func (c *Cluster) Released() []*Pod { return sorted(c.released) }

func sorted(m map[Key]*Pod) []*Pod {
	out := make([]*Pod, 0, len(m))
	for _, p := range m {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *Pod) int { return a.Key.Compare(b.Key) })
	return out
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
	// A released pod has no owner. Its set is the one whose selector would match it
	// if it still had the hash.
	was := labels.Merge(p.Labels, labels.Set{TemplateHashLabel: hash})
	var found *ReplicaSet
	for _, rs := range c.setsHashed[hashKey{p.Namespace, hash}] {
		if rs.Selector.Matches(was) && (found == nil || rs.Key.Compare(found.Key) < 0) {
			found = rs
		}
	}
	return found
}

// ReadyOf counts the pods of a Deployment that are available at the given time:
// Ready for long enough and not terminating, released ones among them, since
// they serve until they go. Pods for which without returns true are left out.
// The second result is the first moment at which a pod that is already Ready
// will become available; zero when there is none.
func (c *Cluster) ReadyOf(d *Deployment, now time.Time, without func(*Pod) bool) (int, time.Time) {
	var n int
	var next time.Time
	count := func(p *Pod) {
		if !p.Ready || p.Terminating || without(p) {
			return
		}
		if at := p.ReadySince.Add(d.MinReady); d.MinReady > 0 && at.After(now) {
			if next.IsZero() || at.Before(next) {
				next = at
			}
			return
		}
		n++
	}
	for _, rs := range c.setsOf[d.UID] {
		for _, p := range c.owned[rs.UID] {
			if p.ReleasedFrom() == "" { // its owner is about to let go; counted below
				count(p)
			}
		}
	}
	for _, p := range c.released {
		if p.Namespace == d.Namespace && c.DeploymentOf(p) == d {
			count(p)
		}
	}
	return n, next
}

// SelectsHash returns a Service that selects the pod by its template hash: once
// the hash is gone, the Service would no longer send it traffic. Nil if none does.
func (c *Cluster) SelectsHash(p *Pod) *Service {
	var found *Service
	for _, s := range c.services[p.Namespace] {
		if _, ok := s.Selector[TemplateHashLabel]; !ok {
			continue
		}
		if labels.SelectorFromSet(s.Selector).Matches(p.Labels) && (found == nil || s.Key.Compare(found.Key) < 0) {
			found = s
		}
	}
	return found
}

// Adopter returns an object that would adopt the pod if its template hash were
// removed, as "Kind/name". Empty if none would.
func (c *Cluster) Adopter(p *Pod) string {
	without := labels.Set{}
	for k, v := range p.Labels {
		if k != TemplateHashLabel {
			without[k] = v
		}
	}
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
	for _, rs := range c.replicaSets {
		if rs.Namespace == p.Namespace && rs.Selector.Matches(without) {
			note("ReplicaSet", rs.Name)
		}
	}
	return found
}
