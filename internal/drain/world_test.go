package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// world stands for the API server, the ordinary controllers and the kubelets: as
// much of each as a drain can notice. It owns the truth; the State under test is
// shown copies of it through view.
type world struct {
	now       time.Time
	nodes     map[string]*cluster.Node
	deploys   map[string]*deploy
	pods      map[string]*cluster.Pod
	view      *cluster.Cluster
	full      bool // nothing can be scheduled any more
	quota     bool // no pod can be created any more
	tainted   map[string]bool
	completed int // lifecycle actions
	pdbs      map[string]*cluster.Budget
	budgets   map[string]int // app -> the fewest ready pods that an eviction may leave
	serial    int

	// If lag is set, changes reach the view only by deliver: watches are not instant.
	lag     bool
	pending []cluster.Change
	also    func(cluster.Change) // sees every change too
	ended   map[string]int       // app -> pods that are gone
}

type deploy struct {
	cluster.Deployment
	set  cluster.ReplicaSet
	made int // replacements so far
}

const ns = "shop"

func newWorld() *world {
	return &world{
		now:     time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		nodes:   make(map[string]*cluster.Node),
		deploys: make(map[string]*deploy),
		pods:    make(map[string]*cluster.Pod),
		budgets: make(map[string]int),
		tainted: make(map[string]bool),
		ended:   make(map[string]int),
		pdbs:    make(map[string]*cluster.Budget),
		view:    cluster.New(),
	}
}

func (w *world) addNode(name string, cordoned bool) *cluster.Node {
	n := &cluster.Node{Name: name, Instance: interruption.InstanceID("i-" + name), Ready: true, Unschedulable: cordoned}
	w.nodes[name] = n
	w.show(n)
	return n
}

// show sends a copy of an object to the view, as a watch event does.
func (w *world) show(o cluster.Object) { w.send(cluster.Change{Object: clone(o)}) }

func (w *world) send(ch cluster.Change) {
	if w.also != nil {
		w.also(ch)
	}
	if w.lag {
		w.pending = append(w.pending, ch)
		return
	}
	w.view.Apply(ch)
}

// deliver applies the first n pending changes. Their order is kept, as a watch
// keeps it.
func (w *world) deliver(n int) {
	n = min(n, len(w.pending))
	for _, ch := range w.pending[:n] {
		w.view.Apply(ch)
	}
	w.pending = w.pending[n:]
}

func clone(o cluster.Object) cluster.Object {
	switch o := o.(type) {
	case *cluster.Node:
		c := *o
		return &c
	case *cluster.Pod:
		c := *o
		return &c
	case *cluster.Deployment:
		c := *o
		return &c
	case *cluster.Budget:
		c := *o
		return &c
	case *cluster.ReplicaSet:
		c := *o
		return &c
	}
	return o // the others are never changed in place
}

func (w *world) addDeployment(name string, replicas int) *deploy {
	d := &deploy{
		Deployment: cluster.Deployment{Key: cluster.Key{Namespace: ns, Name: name}, UID: cluster.UID("uid-" + name), Replicas: replicas, Template: labels.Set{"app": name}},
	}
	d.set = cluster.ReplicaSet{
		Key: cluster.Key{Namespace: ns, Name: name + "-h1"}, UID: cluster.UID("uid-" + name + "-h1"), Hash: "h1",
		Owner:    cluster.Owner{Kind: "Deployment", Name: name, UID: d.UID},
		Selector: labels.SelectorFromSet(labels.Set{"app": name, cluster.TemplateHashLabel: "h1"}),
	}
	w.deploys[name] = d
	w.show(&d.Deployment)
	w.show(&d.set)
	return d
}

// rollout gives a Deployment a new template: its old ReplicaSet makes no more pods.
func (w *world) rollout(name string) {
	d := w.deploys[name]
	set := d.set
	set.Hash, set.Name, set.UID = "h2", name+"-h2", d.set.UID+"2"
	set.Selector = labels.SelectorFromSet(labels.Set{"app": name, cluster.TemplateHashLabel: "h2"})
	d.set = set
	w.show(&set)
	w.reconcile()
}

func (w *world) addStatefulSet(name string, replicas int) {
	w.show(&cluster.Controller{
		Key: cluster.Key{Namespace: ns, Name: name}, Kind: "StatefulSet", UID: cluster.UID("uid-" + name), Replicas: replicas,
		Selector: labels.SelectorFromSet(labels.Set{"app": name}), Template: labels.Set{"app": name},
	})
}

func (w *world) addBudget(t *testing.T, name string, opts map[string]string) {
	limit := func(k string) *cluster.Limit {
		v := opts[k]
		if v == "" {
			return nil
		}
		l, err := cluster.ParseLimit(v)
		if err != nil {
			t.Fatal(err)
		}
		return &l
	}
	b := &cluster.Budget{
		Key: cluster.Key{Namespace: ns, Name: name}, UID: cluster.UID("uid-pdb-" + name),
		Selector: labels.SelectorFromSet(labels.Set{"app": opts["app"]}),
		Min:      limit("min"), Max: limit("max"), OtherMin: limit("other-min"), OtherMax: limit("other-max"),
	}
	if v := limit("allowed"); v != nil {
		b.Allowed = v.N
	}
	w.pdbs[name] = b
	w.show(b)
}

// twoBudgets reports whether two budgets match a pod, which the Eviction API
// never evicts then.
func (w *world) twoBudgets(p *cluster.Pod) bool {
	n := 0
	for _, b := range w.pdbs {
		if b.Selector.Matches(p.Labels) {
			n++
		}
	}
	return n > 1
}

// addPod adds a pod of a Deployment, or of the owner given.
func (w *world) addPod(name, app, node string, owner cluster.Owner, grace time.Duration, ready bool) *cluster.Pod {
	w.serial++
	p := &cluster.Pod{
		Key: cluster.Key{Namespace: ns, Name: name}, UID: cluster.UID(fmt.Sprintf("uid-%d", w.serial)),
		Node: node, Labels: labels.Set{"app": app}, Owner: owner, Grace: grace, Ready: ready,
		Deregistration: -1,
	}
	if ready {
		p.ReadySince = w.now
	}
	if d := w.deploys[app]; d != nil && owner.Kind == "" {
		p.Owner = cluster.Owner{Kind: "ReplicaSet", Name: d.set.Name, UID: d.set.UID}
		p.Labels[cluster.TemplateHashLabel] = d.set.Hash
	}
	w.pods[name] = p
	w.show(p)
	return p
}

// reconcile does what the ReplicaSet controller and the scheduler do.
func (w *world) reconcile() {
	for _, name := range sortedKeys(w.deploys) {
		d := w.deploys[name]
		have := 0
		for _, p := range w.pods {
			if p.Owner.UID == d.set.UID && !p.Terminating {
				have++
			}
		}
		for ; have < d.Replicas && !w.quota; have++ {
			node := w.place(name)
			d.made++
			w.addPod(fmt.Sprintf("%s-r%d", name, d.made), name, node, cluster.Owner{}, 10*time.Second, false)
		}
	}
	for _, name := range sortedKeys(w.pods) { // pending ones
		if p := w.pods[name]; p.Node == "" {
			if p.Node = w.place(p.Labels["app"]); p.Node != "" {
				w.show(p)
			}
		}
	}
}

// place returns the schedulable node with the fewest pods.
func (w *world) place(string) string {
	if w.full {
		return ""
	}
	count := make(map[string]int)
	for _, p := range w.pods {
		count[p.Node]++
	}
	best := ""
	for _, name := range sortedKeys(w.nodes) {
		if n := w.nodes[name]; !n.Unschedulable && n.Ready && (best == "" || count[name] < count[best]) {
			best = name
		}
	}
	return best
}

func (w *world) ready(name string) { p := w.pods[name]; p.Ready, p.ReadySince = true, w.now; w.show(p) }

func (w *world) gone(name string) {
	p := w.pods[name]
	w.ended[p.Labels["app"]]++
	delete(w.pods, name)
	w.send(cluster.Change{Object: clone(p), Gone: true})
	w.reconcile()
}

// lose ends a machine: its pods are gone without a word, and its object too.
func (w *world) lose(name string) {
	n := w.nodes[name]
	delete(w.nodes, name)
	for _, pod := range sortedKeys(w.pods) {
		if p := w.pods[pod]; p.Node == name {
			w.ended[p.Labels["app"]]++
			delete(w.pods, pod)
			w.send(cluster.Change{Object: clone(p), Gone: true})
		}
	}
	w.send(cluster.Change{Object: clone(n), Gone: true})
	w.reconcile()
}

// readyOf counts the pods of an app that serve.
func (w *world) readyOf(app string) int {
	n := 0
	for _, p := range w.pods {
		if p.Labels["app"] == app && p.Ready && !p.Terminating {
			n++
		}
	}
	return n
}

// apply does to the cluster what an effect asks for.
func (w *world) apply(e Effect) Outcome {
	if e.Kind == Store {
		n := w.nodes[e.Node]
		if n == nil {
			return Missing
		}
		if n.Record != e.Old {
			return Conflict
		}
		n.Record = ""
		if e.Record != nil {
			n.Record = e.Record.Encode()
		}
		n.Unschedulable = (n.Unschedulable || e.Cordon) && !e.Uncordon
		w.show(n)
		w.tainted[e.Node] = (w.tainted[e.Node] || e.Taint) && !e.Untaint
		if e.Taint { // what the pod garbage collector does
			for _, name := range sortedKeys(w.pods) {
				if p := w.pods[name]; p.Node == e.Node && p.Terminating {
					w.gone(name)
				}
			}
		}
		return Done
	}
	switch e.Kind {
	case Heartbeat:
		return Done
	case Complete:
		w.completed++
		return Done
	case Rebudget:
		b := w.pdbs[e.Pod.Name]
		lo, hi := e.Budget.Min, e.Budget.Max
		b.Min, b.OtherMin, b.Max, b.OtherMax = &lo, nil, nil, &hi
		if e.Budget.EnforceMax {
			b.Min, b.OtherMin, b.Max, b.OtherMax = nil, &lo, &hi, nil
		}
		w.show(b)
		return Done
	}
	p := w.pods[e.Pod.Name]
	if p == nil || p.UID != e.UID {
		return Missing
	}
	switch e.Kind {
	case Announce:
		p.Deadline = FormatDeadline(e.Deadline)
		w.show(p)
	case Handoff:
		if !e.Deadline.IsZero() {
			p.Deadline = FormatDeadline(e.Deadline)
		}
		if p.ReleasedFrom() != "" {
			return Done
		}
		was := p.Labels
		p.Labels = labels.Set{"app": was["app"], cluster.HandoffLabel: e.Hash}
		if v := was[cluster.ServingLabel]; v != "" {
			p.Labels[cluster.ServingLabel] = v
		}
		p.Owner = cluster.Owner{}
		w.show(p)
		w.reconcile()
	case Withdraw:
		p.Labels = labels.Set{"app": p.Labels["app"], cluster.HandoffLabel: p.Labels[cluster.HandoffLabel]}
		p.Withdrawn = e.At
		w.show(p)
	case Evict, Delete:
		app := p.Labels["app"]
		if e.Kind == Evict && w.twoBudgets(p) {
			return Blocked
		}
		if min, ok := w.budgets[app]; ok && e.Kind == Evict && p.Ready && !p.Terminating && w.readyOf(app)-1 < min {
			return Blocked
		}
		p.Terminating = true
		if p.Ends = w.now.Add(p.Grace); e.Grace != nil {
			p.Ends = w.now.Add(*e.Grace)
		}
		w.show(p)
		w.reconcile()
	}
	return Done
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// String lists the pods, one a line, for scripts that ask for it.
func (w *world) String() string {
	var b strings.Builder
	for _, name := range sortedKeys(w.pods) {
		p := w.pods[name]
		fmt.Fprintf(&b, "%s on %s", name, p.Node)
		for _, f := range []struct {
			is   bool
			text string
		}{{p.Ready, "ready"}, {!p.Ready, "not ready"}, {p.ReleasedFrom() != "", "released"}, {!p.Withdrawn.IsZero(), "withdrawn"}, {p.Terminating, "terminating"}, {p.Deadline != "", "knows its deadline"}} {
			if f.is {
				b.WriteString(", " + f.text)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
