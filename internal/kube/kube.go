// Package kube is the Kubernetes API as the controller uses it: watches become
// changes, effects become requests, answers become outcomes. It decides nothing,
// and keeps no copy of the cluster.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// Client carries the effects of drains out and watches the cluster. Use New to make one.
type Client struct {
	api kubernetes.Interface
	log *slog.Logger

	mu    sync.Mutex
	nodes map[string]nodeVersion // what the watch has last shown of each node
}

// nodeVersion is what a compare-and-swap of a node starts from.
type nodeVersion struct {
	resourceVersion string
	record          string
	unschedulable   bool
}

// New returns a Client that speaks through api.
func New(api kubernetes.Interface, log *slog.Logger) *Client {
	return &Client{api: api, log: log, nodes: make(map[string]nodeVersion)}
}

func (c *Client) remember(name string, v nodeVersion) {
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

func (c *Client) version(name string) (nodeVersion, bool) {
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
		err = c.patchPod(ctx, e, map[string]any{
			"annotations": map[string]any{cluster.DeadlineAnnotation: drain.FormatDeadline(e.Deadline)},
		})
	case drain.Handoff:
		err = c.patchPod(ctx, e, map[string]any{
			"annotations": map[string]any{cluster.DeadlineAnnotation: drain.FormatDeadline(e.Deadline)},
			"labels":      map[string]any{cluster.TemplateHashLabel: nil, cluster.HandoffLabel: e.Hash},
		})
	case drain.Evict:
		err = c.api.PolicyV1().Evictions(e.Pod.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Namespace: e.Pod.Namespace, Name: e.Pod.Name},
			DeleteOptions: deleteOptions(e),
		})
		if blocked(err) {
			return drain.Blocked, err
		}
	case drain.Delete:
		err = c.api.CoreV1().Pods(e.Pod.Namespace).Delete(ctx, e.Pod.Name, *deleteOptions(e))
	default:
		return drain.Refused, fmt.Errorf("carrying out a %s: not an effect on the cluster", e.Kind)
	}
	return outcome(err)
}

// store writes a node's Record and its cordon in one patch, if the Record is
// still the one that the decision saw. The patch carries the resourceVersion, so
// the API server itself refuses it when the node has changed; nodes change often
// for reasons that do not concern us, and then the node is read and it is tried
// again. A Record that already stands there is as good as written: the answer to
// an earlier request may have been lost.
func (c *Client) store(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	want, schedulable := "", map[string]any{}
	if e.Record != nil {
		want = e.Record.Encode()
	}
	switch {
	case e.Cordon:
		schedulable["unschedulable"] = true
	case e.Uncordon:
		schedulable["unschedulable"] = nil
	}
	v, ok := c.version(e.Node)
	if !ok || v.record != e.Old {
		var err error
		if v, err = c.read(ctx, e.Node); err != nil {
			return outcome(err)
		}
	}
	for range 5 {
		done := v.record == want && (!e.Cordon || v.unschedulable) && (!e.Uncordon || !v.unschedulable)
		switch {
		case done:
			return drain.Done, nil
		case v.record != e.Old && v.record != want:
			return drain.Conflict, fmt.Errorf("storing the Record of node %s: another one is stored there", e.Node)
		}
		var value any = want
		if want == "" {
			value = nil
		}
		patch := map[string]any{
			"metadata": map[string]any{
				"resourceVersion": v.resourceVersion,
				"annotations":     map[string]any{cluster.RecordAnnotation: value},
			},
			"spec": schedulable,
		}
		_, err := c.api.CoreV1().Nodes().Patch(ctx, e.Node, types.MergePatchType, encode(patch), metav1.PatchOptions{})
		if !apierrors.IsConflict(err) {
			return outcome(err)
		}
		if v, err = c.read(ctx, e.Node); err != nil {
			return outcome(err)
		}
	}
	return drain.Conflict, fmt.Errorf("storing the Record of node %s: the node changes faster than it can be patched", e.Node)
}

func (c *Client) read(ctx context.Context, name string) (nodeVersion, error) {
	n, err := c.api.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nodeVersion{}, err
	}
	return nodeVersion{n.ResourceVersion, n.Annotations[cluster.RecordAnnotation], n.Spec.Unschedulable}, nil
}

// patchPod patches the metadata of the very pod that the decision saw: the UID in
// the patch makes the API server refuse it for another one of the same name.
func (c *Client) patchPod(ctx context.Context, e drain.Effect, meta map[string]any) error {
	meta["uid"] = e.UID
	_, err := c.api.CoreV1().Pods(e.Pod.Namespace).Patch(ctx, e.Pod.Name, types.MergePatchType,
		encode(map[string]any{"metadata": meta}), metav1.PatchOptions{})
	return err
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

func encode(patch map[string]any) []byte {
	b, err := json.Marshal(patch)
	if err != nil {
		panic(err) // cannot happen: it holds strings, booleans and nil
	}
	return b
}

// blocked reports whether the Eviction API refused because of budgets: none is
// left, or two match the same pod, which it never evicts.
func blocked(err error) bool {
	if apierrors.IsTooManyRequests(err) {
		return apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause)
	}
	return apierrors.IsInternalError(err) && strings.Contains(err.Error(), "more than one PodDisruptionBudget")
}

// outcome sorts an API error by what is to be done about it.
func outcome(err error) (drain.Outcome, error) {
	switch {
	case err == nil:
		return drain.Done, nil
	case apierrors.IsNotFound(err):
		return drain.Missing, nil
	case apierrors.IsConflict(err):
		return drain.Conflict, err
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsMethodNotSupported(err):
		return drain.Refused, err
	case errors.Is(err, context.Canceled):
		return drain.Unavailable, context.Canceled
	}
	// Refused connections, time-outs, an overloaded server, expired credentials:
	// all of these pass.
	return drain.Unavailable, err
}
