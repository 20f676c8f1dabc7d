// Package nodeapi is the Kubernetes API of nodes: reading one, and storing its
// Record together with its cordon. It stands apart from package kube because of
// what it does not import. An agent that runs on every machine has no use for the
// types of every API group, which cost 9 MiB of memory each time.
package nodeapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

// API reads and patches nodes. Errors are the API server's own.
type API interface {
	GetNode(ctx context.Context, name string) (*corev1.Node, error)
	// PatchNode applies a JSON merge patch.
	PatchNode(ctx context.Context, name string, patch []byte) error
}

// Version is what a compare-and-swap of a node starts from.
type Version struct {
	ResourceVersion string
	Record          string
	Unschedulable   bool
	Taints          []corev1.Taint
}

// OutOfService is the taint of a node whose machine is known to be gone: its pods
// are deleted without their kubelet's word, and their volumes detached at once.
var OutOfService = corev1.Taint{Key: corev1.TaintNodeOutOfService, Value: "evenkeel", Effect: corev1.TaintEffectNoExecute}

// VersionOf returns the Version of a node.
func VersionOf(n *corev1.Node) Version {
	return Version{n.ResourceVersion, n.Annotations[cluster.RecordAnnotation], n.Spec.Unschedulable, n.Spec.Taints}
}

// Store writes a node's Record and its cordon in one patch, if the Record is
// still the one that the decision saw. The patch carries the resourceVersion, so
// the API server itself refuses it when the node has changed; nodes change often
// for reasons that do not concern us, and then the node is read and it is tried
// again. A Record that already stands there is as good as written: the answer to
// an earlier request may have been lost.
//
// known is what the caller has last seen of the node, nil if nothing.
func Store(ctx context.Context, api API, known *Version, e drain.Effect) (drain.Outcome, error) {
	want, spec := "", map[string]any{}
	if e.Record != nil {
		want = e.Record.Encode()
	}
	switch {
	case e.Cordon:
		spec["unschedulable"] = true
	case e.Uncordon:
		spec["unschedulable"] = nil
	}
	var v Version
	if known != nil {
		v = *known
	}
	if known == nil || v.Record != e.Old {
		var err error
		if v, err = read(ctx, api, e.Node); err != nil {
			return Outcome(err)
		}
	}
	for range 5 {
		taints, other := retaint(v.Taints, e)
		done := v.Record == want && (!e.Cordon || v.Unschedulable) && (!e.Uncordon || !v.Unschedulable) && !other
		switch {
		case done:
			return drain.Done, nil
		case v.Record != e.Old && v.Record != want:
			return drain.Conflict, fmt.Errorf("storing the Record of node %s: another one is stored there", e.Node)
		}
		if other {
			spec["taints"] = taints // all of them: a merge patch replaces the list
		}
		var value any = want
		if want == "" {
			value = nil
		}
		err := api.PatchNode(ctx, e.Node, Encode(map[string]any{
			"metadata": map[string]any{
				"resourceVersion": v.ResourceVersion,
				"annotations":     map[string]any{cluster.RecordAnnotation: value},
			},
			"spec": spec,
		}))
		if !apierrors.IsConflict(err) {
			return Outcome(err)
		}
		if v, err = read(ctx, api, e.Node); err != nil {
			return Outcome(err)
		}
	}
	return drain.Conflict, fmt.Errorf("storing the Record of node %s: the node changes faster than it can be patched", e.Node)
}

// retaint returns a node's taints as an effect wants them, and whether they differ
// from those that it has.
func retaint(has []corev1.Taint, e drain.Effect) ([]corev1.Taint, bool) {
	ours := func(t corev1.Taint) bool { return t.MatchTaint(&OutOfService) && t.Value == OutOfService.Value }
	switch {
	case e.Taint && !slices.ContainsFunc(has, func(t corev1.Taint) bool { return t.MatchTaint(&OutOfService) }):
		return append(slices.Clone(has), OutOfService), true
	case e.Untaint && slices.ContainsFunc(has, ours):
		return slices.DeleteFunc(slices.Clone(has), ours), true
	}
	return has, false
}

func read(ctx context.Context, api API, name string) (Version, error) {
	n, err := api.GetNode(ctx, name)
	if err != nil {
		return Version{}, err
	}
	return VersionOf(n), nil
}

// Encode returns a patch as JSON.
func Encode(patch map[string]any) []byte {
	b, err := json.Marshal(patch)
	if err != nil {
		panic(err) // cannot happen: it holds strings, booleans and nil
	}
	return b
}

// Outcome sorts an API error by what is to be done about it.
func Outcome(err error) (drain.Outcome, error) {
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

// Convert returns what decisions need of a node.
func Convert(o *corev1.Node) *cluster.Node {
	machine := price.MachineOf(o.Labels)
	n := &cluster.Node{
		Name:          o.Name,
		Zone:          machine.Zone,
		Region:        machine.Region,
		InstanceType:  machine.InstanceType,
		Spot:          machine.Capacity == price.Spot,
		Pool:          o.Labels[cluster.PoolLabel],
		Unschedulable: o.Spec.Unschedulable,
		Record:        o.Annotations[cluster.RecordAnnotation],
		Drain:         o.Labels[cluster.DrainLabel],
		Rebalance:     o.Labels[cluster.RebalanceLabel],
		Created:       o.CreationTimestamp.Time,
	}
	n.Instance, _ = interruption.InstanceOfProviderID(o.Spec.ProviderID)
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeReady {
			n.Ready = c.Status == corev1.ConditionTrue
		}
	}
	return n
}

// Marker is what controller.Mark needs, by an API.
type Marker struct{ API API }

// Node reads one node.
func (m Marker) Node(ctx context.Context, name string) (*cluster.Node, error) {
	n, err := m.API.GetNode(ctx, name)
	if err != nil {
		return nil, err
	}
	return Convert(n), nil
}

// Do carries out a drain.Store.
func (m Marker) Do(ctx context.Context, e drain.Effect) (drain.Outcome, error) {
	if e.Kind != drain.Store {
		return drain.Refused, fmt.Errorf("carrying out a %s: only Records are stored here", e.Kind)
	}
	return Store(ctx, m.API, nil, e)
}
