// Package kube is the Kubernetes API as the controller uses it: watches become
// changes, effects become requests, answers become outcomes. It decides nothing,
// and keeps no copy of the cluster.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
)

// Client carries the effects of drains out and watches the cluster. Use New to make one.
type Client struct {
	api kubernetes.Interface
	log *slog.Logger

	mu    sync.Mutex
	nodes map[string]nodeapi.Version // what the watch has last shown of each node
}

// New returns a Client that speaks through api.
func New(api kubernetes.Interface, log *slog.Logger) *Client {
	return &Client{api: api, log: log, nodes: make(map[string]nodeapi.Version)}
}

func (c *Client) remember(name string, v nodeapi.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[name] = v
}

func (c *Client) forget(name string, o cluster.Object) {
	if _, ok := o.(*cluster.Node); !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, name)
}

func (c *Client) version(name string) (nodeapi.Version, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.nodes[name]
	return v, ok
}

// Do carries out one effect. It may be called concurrently, and every effect may
// be done twice. The error explains an outcome other than Done and Missing.
func (c *Client) Do(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	var err error
	switch e.Kind {
	case drain.Store:
		return c.store(ctx, e)
	case drain.Announce:
		err = c.patchPod(ctx, e, map[string]any{"annotations": deadline(e)})
	case drain.Handoff:
		err = c.patchPod(ctx, e, map[string]any{
			"annotations": deadline(e),
			"labels":      map[string]any{cluster.TemplateHashLabel: nil, cluster.HandoffLabel: e.Hash},
		})
	case drain.Withdraw:
		err = c.patchPod(ctx, e, map[string]any{
			"annotations": map[string]any{cluster.WithdrawnAnnotation: e.At.UTC().Format(time.RFC3339Nano)},
			"labels":      map[string]any{cluster.ServingLabel: nil},
		})
	case drain.Evict:
		err = once(c.api.CoreV1().RESTClient().Post().Namespace(e.Pod.Namespace).Resource("pods").Name(e.Pod.Name).SubResource("eviction").
			Body(&policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: e.Pod.Namespace, Name: e.Pod.Name},
				DeleteOptions: deleteOptions(e),
			})).Do(ctx).Error()
		if blocked(err) {
			return drain.Blocked, err
		}
	case drain.Delete:
		err = once(c.api.CoreV1().RESTClient().Delete().Namespace(e.Pod.Namespace).Resource("pods").Name(e.Pod.Name).Body(deleteOptions(e))).Do(ctx).Error()
	case drain.Rebudget:
		err = once(c.api.PolicyV1().RESTClient().Patch(types.MergePatchType).Namespace(e.Pod.Namespace).Resource("poddisruptionbudgets").
			Name(e.Pod.Name).Body(rebudget(e))).Do(ctx).Error()
	default:
		return drain.Refused, fmt.Errorf("carrying out a %s: not an effect on the cluster", e.Kind)
	}
	return nodeapi.Outcome(err)
}

// store writes a node's Record and its cordon, starting from what the watch has
// last shown.
func (c *Client) store(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	var known *nodeapi.Version
	if v, ok := c.version(e.Node); ok {
		known = &v
	}
	return nodeapi.Store(ctx, nodes{c.api}, known, e)
}

// nodes is nodeapi.API by the client that there is anyway.
type nodes struct{ api kubernetes.Interface }

func (n nodes) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	return n.api.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
}

func (n nodes) PatchNode(ctx context.Context, name string, patch []byte) error {
	return once(n.api.CoreV1().RESTClient().Patch(types.MergePatchType).Resource("nodes").Name(name).Body(patch)).Do(ctx).Error()
}

// patchPod patches the metadata of the very pod that the decision saw: the UID in
// the patch makes the API server refuse it for another one of the same name.
func (c *Client) patchPod(ctx context.Context, e drain.Effect, meta map[string]any) error {
	meta["uid"] = e.UID
	return once(c.api.CoreV1().RESTClient().Patch(types.MergePatchType).Namespace(e.Pod.Namespace).Resource("pods").Name(e.Pod.Name).
		Body(nodeapi.Encode(map[string]any{"metadata": meta}))).Do(ctx).Error()
}

// once has a request tried only once. client-go would wait for as long as the
// server says, up to ten times over; when to try again is decided by package
// drain, which knows what is more urgent. Requests are made by hand for this, and
// since an answer that nobody reads need not be decoded.
func once(r *rest.Request) *rest.Request { return r.MaxRetries(0) }

// deadline is what a pod is told; nothing if its machine has no deadline.
func deadline(e drain.Effect) map[string]any {
	if e.Deadline.IsZero() {
		return nil
	}
	return map[string]any{cluster.DeadlineAnnotation: drain.FormatDeadline(e.Deadline)}
}

// rebudget swaps the limit of a budget that is enforced with the one that is
// noted, if the budget is still the one that the decision saw.
func rebudget(e drain.Effect) []byte {
	c := e.Budget
	spec := map[string]any{"minAvailable": intOrString(c.Min), "maxUnavailable": nil}
	notes := map[string]any{cluster.MaxUnavailableAnnotation: c.Max.String(), cluster.MinAvailableAnnotation: nil}
	if c.EnforceMax {
		spec = map[string]any{"minAvailable": nil, "maxUnavailable": intOrString(c.Max)}
		notes = map[string]any{cluster.MaxUnavailableAnnotation: nil, cluster.MinAvailableAnnotation: c.Min.String()}
	}
	return nodeapi.Encode(map[string]any{
		"metadata": map[string]any{"uid": e.UID, "resourceVersion": c.Version, "annotations": notes},
		"spec":     spec,
	})
}

func intOrString(l cluster.Limit) any {
	if l.Percent {
		return l.String()
	}
	return l.N
}

func deleteOptions(e drain.Effect) *metav1.DeleteOptions {
	uid := types.UID(e.UID)
	o := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	if e.Grace != nil {
		s := int64(*e.Grace / time.Second)
		o.GracePeriodSeconds = &s
	}
	return o
}

// blocked reports whether the Eviction API refused because of budgets: none is
// left, or two match the same pod, which it never evicts.
func blocked(err error) bool {
	if apierrors.IsTooManyRequests(err) {
		return apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause)
	}
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "more than one PodDisruptionBudget")
}
