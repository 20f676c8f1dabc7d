package drainbench

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// raw is the yardstick: a client that is told beforehand what there is to do, and
// issues the writes that Evenkeel issues for it: a Record with the cordon for each
// node, a release for each pod, an eviction for each pod as soon as its app has
// one more that serves. It reads no queue, watches nothing, decides nothing and
// survives nothing. What it takes is what the control plane takes.
type raw struct {
	client kubernetes.Interface
	// stores and others bound the requests under way, as in Evenkeel.
	stores, others chan struct{}

	mu       sync.Mutex
	released map[string][]*corev1.Pod // by app: may go when another one serves
	credit   map[string]int           // by app: others that serve, and nobody has gone for them
	errs     []error
	wg       sync.WaitGroup
}

func newRaw(client kubernetes.Interface, concurrency int) *raw {
	return &raw{
		client: client, stores: make(chan struct{}, concurrency/2), others: make(chan struct{}, concurrency/2),
		released: make(map[string][]*corev1.Pod), credit: make(map[string]int),
	}
}

// run empties nodes. It returns when all nodes are cordoned and all pods are
// released; evictions go on until wait returns.
func (r *raw) run(ctx context.Context, nodes []*corev1.Node, pods map[string][]*corev1.Pod, deadline time.Time) {
	var cordons sync.WaitGroup
	for _, n := range nodes {
		cordons.Go(func() { r.with(ctx, r.stores, func() error { return r.cordon(ctx, n, deadline) }) })
	}
	cordons.Wait() // as Evenkeel waits, so that no replacement lands on a node that goes too
	var releases sync.WaitGroup
	for _, n := range nodes {
		for _, p := range pods[n.Name] {
			releases.Go(func() {
				r.with(ctx, r.others, func() error { return r.release(ctx, p, deadline) })
				app := p.Labels[appLabel]
				r.mu.Lock()
				r.released[app] = append(r.released[app], p)
				r.mu.Unlock()
				r.next(ctx, app)
			})
		}
	}
	releases.Wait()
}

// ready is told that one more pod of an app serves.
func (r *raw) ready(ctx context.Context, app string) {
	r.mu.Lock()
	r.credit[app]++
	r.mu.Unlock()
	r.next(ctx, app)
}

// next evicts a released pod of an app, if another one has come for it.
func (r *raw) next(ctx context.Context, app string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.credit[app] == 0 || len(r.released[app]) == 0 {
		return
	}
	p := r.released[app][0]
	r.credit[app]--
	r.released[app] = r.released[app][1:]
	r.wg.Go(func() {
		for {
			var err error
			r.with(ctx, r.others, func() error { err = r.evict(ctx, p); return nil })
			// What the API server is too busy for, and what the budget's status, which
			// lags behind, does not allow yet, is tried again.
			if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || !sleep(ctx, 250*time.Millisecond) {
				return
			}
		}
	})
}

// wait returns when every eviction has been accepted, with what could not be done
// before.
func (r *raw) wait() []error {
	r.wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.errs
}

func (r *raw) with(ctx context.Context, slots chan struct{}, do func() error) {
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-slots }()
	if err := do(); err != nil && ctx.Err() == nil {
		r.mu.Lock()
		r.errs = append(r.errs, err)
		r.mu.Unlock()
	}
}

func (r *raw) cordon(ctx context.Context, n *corev1.Node, deadline time.Time) error {
	now := time.Now()
	record := drain.Record{
		Notice: interruption.Notice{
			ID: "00000000-0000-0000-0000-000000000000", Cloud: interruption.AWS, Instance: interruption.InstanceID(instanceOf(n.Name)),
			Kind: interruption.SpotInterruption, Action: "terminate", Sent: now, Seen: now, Deadline: deadline,
		},
		Deadline: deadline, Cordoned: true, Stored: now,
	}
	_, err := r.client.CoreV1().Nodes().Patch(ctx, n.Name, types.MergePatchType, mustJSON(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "annotations": map[string]any{cluster.RecordAnnotation: record.Encode()}},
		"spec":     map[string]any{"unschedulable": true},
	}), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("cordoning %s: %w", n.Name, err)
	}
	return nil
}

func (r *raw) release(ctx context.Context, p *corev1.Pod, deadline time.Time) error {
	_, err := r.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.MergePatchType, mustJSON(map[string]any{
		"metadata": map[string]any{
			"uid":         p.UID,
			"annotations": map[string]any{cluster.DeadlineAnnotation: drain.FormatDeadline(deadline)},
			"labels":      map[string]any{cluster.TemplateHashLabel: nil, cluster.HandoffLabel: p.Labels[cluster.TemplateHashLabel]},
		},
	}), metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("releasing %s: %w", p.Name, err)
	}
	return nil
}

func (r *raw) evict(ctx context.Context, p *corev1.Pod) error {
	return r.client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}},
	})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // cannot happen: it holds strings, booleans and nil
	}
	return b
}
