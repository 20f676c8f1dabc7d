package handofftest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// tally counts changes of state, each at the write that made it. What is done twice
// and the second time changes nothing is no change.
type tally struct {
	// Of the case's node.
	cordoned, uncordoned, stored, removed, emptied, closed, tainted, untainted int
	// Of the pods in its namespace. Asked are those with a deletionTimestamp, or gone
	// without.
	created, released, withdrawn, asked int
	// Of its budget: which limit is enforced.
	rebudgeted int
}

func (n tally) String() string {
	var b strings.Builder
	for _, v := range []struct {
		name string
		n    int
	}{
		{"cordoned", n.cordoned}, {"uncordoned", n.uncordoned}, {"stored", n.stored}, {"removed", n.removed}, {"emptied", n.emptied},
		{"closed", n.closed}, {"tainted", n.tainted}, {"untainted", n.untainted},
		{"created", n.created}, {"released", n.released}, {"withdrawn", n.withdrawn}, {"asked", n.asked}, {"rebudgeted", n.rebudgeted},
	} {
		if v.n > 0 {
			fmt.Fprintf(&b, " %s %d", v.name, v.n)
		}
	}
	return strings.TrimSpace(b.String())
}

// told is what happened to a case: its tally and its fewest ready pods.
type told struct {
	tally
	lowest int
}

// history follows the cluster from the moment that it is made.
type history struct {
	mu      sync.Mutex
	cases   map[string]*told // by the name of the node and of the namespace
	nodes   map[string]*corev1.Node
	pods    map[types.UID]*corev1.Pod
	budgets map[types.UID]*policyv1.PodDisruptionBudget
}

// of returns what happened to a case so far.
func (h *history) of(name string) told {
	h.mu.Lock()
	defer h.mu.Unlock()
	return *h.at(name)
}

func (h *history) at(name string) *told {
	c := h.cases[name]
	if c == nil {
		c = &told{lowest: -1}
		h.cases[name] = c
	}
	return c
}

// watchHistory lists the cluster and follows it until the test ends. A watch that
// ends before has seen too little, and is an error.
func watchHistory(t *testing.T, admin kubernetes.Interface) *history {
	t.Helper()
	h := &history{
		cases: make(map[string]*told), nodes: make(map[string]*corev1.Node), pods: make(map[types.UID]*corev1.Pod),
		budgets: make(map[types.UID]*policyv1.PodDisruptionBudget),
	}
	ctx := t.Context()
	nodes, err := admin.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes.Items {
		h.nodes[nodes.Items[i].Name] = &nodes.Items[i]
	}
	pods, err := admin.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range pods.Items {
		h.pods[pods.Items[i].UID] = &pods.Items[i]
	}
	for i := range pods.Items {
		h.count(pods.Items[i].Namespace)
	}
	budgets, err := admin.PolicyV1().PodDisruptionBudgets("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range budgets.Items {
		h.budgets[budgets.Items[i].UID] = &budgets.Items[i]
	}
	follow := func(w watch.Interface, err error) {
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for e := range w.ResultChan() {
				h.see(e.Type, e.Object)
			}
			if ctx.Err() == nil {
				t.Error("a watch ended before the test")
			}
		}()
		t.Cleanup(func() { w.Stop(); <-ended })
	}
	follow(admin.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{ResourceVersion: nodes.ResourceVersion}))
	follow(admin.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: pods.ResourceVersion}))
	follow(admin.PolicyV1().PodDisruptionBudgets("").Watch(ctx, metav1.ListOptions{ResourceVersion: budgets.ResourceVersion}))
	return h
}

// see takes in one change.
func (h *history) see(what watch.EventType, o runtime.Object) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch now := o.(type) {
	case *corev1.Node:
		if was := h.nodes[now.Name]; was != nil {
			h.node(h.at(now.Name), was, now)
		}
		h.nodes[now.Name] = now
	case *corev1.Pod:
		h.pod(h.at(now.Namespace), h.pods[now.UID], now, what == watch.Deleted)
		h.pods[now.UID] = now
		if what == watch.Deleted {
			delete(h.pods, now.UID)
		}
		h.count(now.Namespace)
	case *policyv1.PodDisruptionBudget:
		if was := h.budgets[now.UID]; was != nil && (was.Spec.MinAvailable == nil) != (now.Spec.MinAvailable == nil) {
			h.at(now.Namespace).rebudgeted++
		}
		h.budgets[now.UID] = now
	}
}

func (h *history) node(c *told, was, now *corev1.Node) {
	count := func(n *int, before, after bool) {
		if !before && after {
			*n++
		}
	}
	count(&c.cordoned, was.Spec.Unschedulable, now.Spec.Unschedulable)
	count(&c.uncordoned, !was.Spec.Unschedulable, !now.Spec.Unschedulable)
	before, after := was.Annotations[cluster.RecordAnnotation], now.Annotations[cluster.RecordAnnotation]
	count(&c.stored, before != "", after != "")
	count(&c.removed, before == "", after == "")
	// Records that cannot be read are an error of the case's own check.
	old, _ := drain.DecodeRecord(before)
	record, _ := drain.DecodeRecord(after)
	count(&c.emptied, !old.Emptied.IsZero(), !record.Emptied.IsZero())
	count(&c.closed, !old.Closed.IsZero(), !record.Closed.IsZero())
	count(&c.tainted, outOfServiceTaint(was), outOfServiceTaint(now))
	count(&c.untainted, !outOfServiceTaint(was), !outOfServiceTaint(now))
}

func outOfServiceTaint(n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		if t.Key == corev1.TaintNodeOutOfService {
			return true
		}
	}
	return false
}

func (h *history) pod(c *told, was, now *corev1.Pod, gone bool) {
	if was == nil {
		c.created++
		return
	}
	if was.Labels[cluster.HandoffLabel] == "" && now.Labels[cluster.HandoffLabel] != "" {
		c.released++
	}
	if was.Labels[cluster.ServingLabel] != "" && now.Labels[cluster.ServingLabel] == "" {
		c.withdrawn++
	}
	if was.DeletionTimestamp == nil && (now.DeletionTimestamp != nil || gone) {
		c.asked++
	}
}

// count notes how many pods of a namespace are ready.
func (h *history) count(namespace string) {
	n := 0
	for _, p := range h.pods {
		if p.Namespace == namespace && p.DeletionTimestamp == nil && isReady(p) {
			n++
		}
	}
	if c := h.at(namespace); c.lowest < 0 || n < c.lowest {
		c.lowest = n
	}
}
