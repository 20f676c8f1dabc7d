package observe

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/feed"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

// appLabel is how pods say to which service they belong.
const appLabel = "app.kubernetes.io/name"

// Observer watches one rehearsed cluster. Use New to make one; its methods may
// be called concurrently.
type Observer struct {
	client    kubernetes.Interface
	namespace string
	apps      []string // names of the Deployments and StatefulSets that are judged
	log       *slog.Logger

	mu sync.Mutex
	h  *history
}

// New returns an Observer of the named services in a namespace.
func New(client kubernetes.Interface, namespace string, apps []string, log *slog.Logger) *Observer {
	return &Observer{client: client, namespace: namespace, apps: apps, log: log, h: newHistory(time.Now())}
}

// readApps reads what the services want from their workloads and budgets.
func (o *Observer) readApps(ctx context.Context) ([]App, error) {
	deployments, err := o.client.AppsV1().Deployments(o.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing what is deployed: %w", err)
	}
	sets, err := o.client.AppsV1().StatefulSets(o.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing StatefulSets: %w", err)
	}
	budgets, err := o.client.PolicyV1().PodDisruptionBudgets(o.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing budgets: %w", err)
	}
	var apps []App
	for _, d := range deployments.Items {
		if slices.Contains(o.apps, d.Name) {
			app := App{Name: d.Name, Desired: int(*d.Spec.Replicas)}
			if err := app.readBudget(budgets.Items, d.Spec.Template.Labels); err != nil {
				return nil, err
			}
			apps = append(apps, app)
		}
	}
	for _, d := range sets.Items {
		if slices.Contains(o.apps, d.Name) {
			app := App{Name: d.Name, Desired: int(*d.Spec.Replicas), Stateful: true}
			if err := app.readBudget(budgets.Items, d.Spec.Template.Labels); err != nil {
				return nil, err
			}
			apps = append(apps, app)
		}
	}
	return apps, nil
}

// readBudget finds out what the budgets ask of an app, whose pods have labels.
func (a *App) readBudget(budgets []policyv1.PodDisruptionBudget, of labels.Set) error {
	for _, b := range budgets {
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil || !sel.Matches(of) {
			continue
		}
		// Percentages are rounded up in both, as the disruption controller does.
		switch {
		case b.Spec.MinAvailable != nil:
			a.MinHealthy, err = intstr.GetScaledValueFromIntOrPercent(b.Spec.MinAvailable, a.Desired, true)
		case b.Spec.MaxUnavailable != nil:
			var n int
			n, err = intstr.GetScaledValueFromIntOrPercent(b.Spec.MaxUnavailable, a.Desired, true)
			a.MinHealthy = max(a.Desired-n, 0)
		}
		if err != nil {
			return fmt.Errorf("reading budget %s: %w", b.Name, err)
		}
	}
	return nil
}

// retry is the longest pause before a broken watch is tried again. What happens
// while the API server is away is seen when it is back; no later.
const retry = 250 * time.Millisecond

// Run watches until ctx ends.
func (o *Observer) Run(ctx context.Context) error {
	var g sync.WaitGroup
	g.Go(func() {
		feed.Pods(ctx, o.client, o.namespace, retry, o.log, func(key string, p *corev1.Pod, _ bool) {
			if p == nil {
				o.podGone(key)
				return
			}
			o.pod(p)
		})
	})
	g.Go(func() {
		feed.Nodes(ctx, o.client, retry, o.log, func(_ string, n *corev1.Node, _ bool) {
			if n != nil {
				o.node(n)
			}
		})
	})
	g.Wait()
	return nil
}

func (o *Observer) pod(p *corev1.Pod) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	l := o.h.pods[string(p.UID)]
	if l == nil {
		// A pod of a StatefulSet has the name of the one before it, whose end may have
		// been missed while the API server was away.
		o.endOf(p.Name, now)
		l = &podLife{
			uid: string(p.UID), name: p.Name, app: p.Labels[appLabel], job: p.Labels[batchv1.JobNameLabel], created: p.CreationTimestamp.Time,
		}
		o.h.pods[string(p.UID)] = l
	}
	l.node = p.Spec.NodeName
	l.isReady = isReady(p.Status.Conditions)
	if l.isReady {
		note(&l.ready, now)
	}
	if p.Labels[cluster.HandoffLabel] != "" {
		note(&l.released, now)
	}
	if p.DeletionTimestamp != nil {
		note(&l.terminating, now)
	}
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		note(&l.ended, now)
		l.succeeded = p.Status.Phase == corev1.PodSucceeded
	}
	o.h.count(l.app, now)
}

// podGone notes that a pod's object is gone. Names may be used again, so it is
// the one of that name that has not ended yet.
func (o *Observer) podGone(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endOf(strings.TrimPrefix(key, o.namespace+"/"), time.Now())
}

func (o *Observer) endOf(name string, now time.Time) {
	for _, l := range o.h.pods {
		if l.name == name && l.ended.IsZero() {
			l.ended = now
			o.h.count(l.app, now)
		}
	}
}

func isReady(conditions []corev1.PodCondition) bool {
	for _, c := range conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (o *Observer) node(n *corev1.Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.h.nodes[n.Name]
	if l == nil {
		return // not announced by Joined: not part of the scenario
	}
	if n.Spec.Unschedulable && l.cordoned.IsZero() {
		l.cordoned = time.Now()
		o.mark(l.cordoned, "cordon", n.Name, "cordoned")
	}
}

// note sets a moment that has come for the first time.
func note(t *time.Time, now time.Time) {
	if t.IsZero() {
		*t = now
	}
}

func (o *Observer) mark(at time.Time, kind, node, text string) {
	o.h.marks = append(o.h.marks, report.Event{At: o.h.since(at), Kind: kind, Node: node, Text: text})
}

// Mark notes an event that concerns no node, such as a fault.
func (o *Observer) Mark(kind, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mark(time.Now(), kind, "", text)
}

// Node describes a machine that joins.
type Node struct {
	Name, Zone, InstanceType, CapacityType string
	SpotPerHour, OnDemandPerHour           float64 // USD
}

// Joined notes that a node is about to be registered.
func (o *Observer) Joined(n Node) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	o.h.nodes[n.Name] = &nodeLife{
		name: n.Name, zone: n.Zone, instanceType: n.InstanceType, capacityType: n.CapacityType,
		spotPerHour: n.SpotPerHour, onDemandPerHour: n.OnDemandPerHour, joined: now,
	}
	o.mark(now, "joined", n.Name, "joined the cluster")
}

// Noticed notes that a notice was sent.
func (o *Observer) Noticed(node string, deadline time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.h.nodes[node]; l != nil {
		l.noticed, l.deadline = time.Now(), deadline
		o.mark(l.noticed, "notice", node, "the cloud says that it takes the machine away")
	}
}

// Gone notes that a machine went, and which of its pods, by UID, still had a
// living process: they died without a word, and what the API shows of them from
// now on is not true.
func (o *Observer) Gone(node string, killed []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.h.nodes[node]
	if l == nil {
		return
	}
	now := time.Now()
	l.gone = now
	for _, uid := range killed {
		if p := o.h.pods[uid]; p != nil { // others, such as the controller's own, are not ours to judge
			l.left++
			p.killed = true
			note(&p.ended, now)
			o.h.count(p.app, now)
		}
	}
	text := "the machine is gone; it was empty"
	if l.left > 0 {
		text = fmt.Sprintf("the machine is gone, and %d pods with it", l.left)
	}
	o.mark(now, "gone", node, text)
}

// Begin starts the time that is reported: the load is about to start. What the
// services want is read now, once. It returns the moment.
func (o *Observer) Begin(ctx context.Context) (time.Time, error) {
	apps, err := o.readApps(ctx)
	if err != nil {
		return time.Time{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.h.begin(time.Now(), apps)
	return o.h.start, nil
}

// Nodes returns how many machines are there without notice, and how many in all.
func (o *Observer) Nodes() (ready, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.h.nodes {
		if !n.gone.IsZero() {
			continue
		}
		all++
		if n.noticed.IsZero() {
			ready++
		}
	}
	return ready, all
}

// Result returns what was seen from Begin until now.
func (o *Observer) Result(timeScale float64) *report.Handler {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.h.result(time.Now(), timeScale)
}
