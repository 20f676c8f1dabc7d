// Package live reads the objects of a cluster into the model that the lint rules
// read. It lists page by page, follows nothing that another object owns, and
// folds nodes into the pools that they belong to. It changes nothing.
package live

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// pageSize is how many objects one request asks for.
const pageSize = 500

// resources are what rules read. Nodes come last: they are skipped for pools
// that are declared by an object.
func resources() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "statefulsets"},
		{Group: "apps", Version: "v1", Resource: "daemonsets"},
		{Group: "batch", Version: "v1", Resource: "jobs"},
		{Group: "batch", Version: "v1", Resource: "cronjobs"},
		{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
		{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
		{Group: "keda.sh", Version: "v1alpha1", Resource: "scaledobjects"},
		{Version: "v1", Resource: "services"},
		{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses"},
		{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses"},
		{Group: "karpenter.sh", Version: "v1", Resource: "nodepools"},
		{Group: "karpenter.k8s.aws", Version: "v1", Resource: "ec2nodeclasses"},
		{Version: "v1", Resource: "nodes"},
	}
}

// Read lists the cluster. Resources that the cluster does not have are left out;
// namespace limits what is namespaced, "" means all.
func Read(ctx context.Context, client dynamic.Interface, namespace string) (*manifest.Set, []*manifest.Error, error) {
	set := &manifest.Set{}
	var invalid []*manifest.Error
	var nodes []*unstructured.Unstructured
	for _, gvr := range resources() {
		err := list(ctx, client, gvr, namespace, func(u *unstructured.Unstructured) error {
			if metav1.GetControllerOf(u) != nil {
				return nil
			}
			if gvr.Resource == "nodes" {
				nodes = append(nodes, u)
				return nil
			}
			text, err := json.Marshal(u.Object)
			if err != nil {
				return fmt.Errorf("reading %s %s: %w", u.GetKind(), u.GetName(), err)
			}
			one, errs := manifest.Decode(manifest.Cluster, manifest.Document{Line: 1, Text: text})
			for _, e := range errs {
				e.Msg = fmt.Sprintf("%s %s/%s: %s", u.GetKind(), u.GetNamespace(), u.GetName(), e.Msg)
			}
			invalid = append(invalid, errs...)
			set.Add(one)
			return nil
		})
		if err != nil {
			return nil, nil, err
		}
	}
	set.Pools = append(set.Pools, pools(nodes, set.Pools)...)
	return set, invalid, nil
}

func list(ctx context.Context, client dynamic.Interface, gvr schema.GroupVersionResource, namespace string, f func(*unstructured.Unstructured) error) error {
	var r dynamic.ResourceInterface = client.Resource(gvr)
	if namespace != "" && namespaced(gvr.Resource) {
		r = client.Resource(gvr).Namespace(namespace)
	}
	opts := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := r.List(ctx, opts)
		if apierrors.IsNotFound(err) {
			return nil // the cluster does not have this kind
		}
		if err != nil {
			return fmt.Errorf("listing %s: %w", gvr.Resource, err)
		}
		for i := range page.Items {
			u := &page.Items[i]
			if u.GetKind() == "" { // left out in the items of some lists
				continue
			}
			if err := f(u); err != nil {
				return err
			}
		}
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return nil
		}
	}
}

func namespaced(resource string) bool {
	switch resource {
	case "nodes", "storageclasses", "nodepools", "ec2nodeclasses":
		return false
	}
	return true
}

// poolLabels say which pool a node belongs to, by provider.
func poolLabels() []string {
	return []string{"evenkeel.dev/pool", "karpenter.sh/nodepool", "eks.amazonaws.com/nodegroup", "alpha.eksctl.io/nodegroup-name", "cloud.google.com/gke-nodepool", "kubernetes.azure.com/agentpool"}
}

// pools folds nodes into the pools that they belong to. What all nodes of a pool
// have in common is taken for the pool's.
func pools(nodes []*unstructured.Unstructured, declared []*manifest.Pool) []*manifest.Pool {
	known := map[string]bool{}
	for _, p := range declared {
		known[p.Name] = true
	}
	byName := map[string]*manifest.Pool{}
	for _, n := range nodes {
		labels := n.GetLabels()
		name, source := poolOf(labels)
		if name == "" || known[name] {
			continue
		}
		p := byName[name]
		if p == nil {
			p = &manifest.Pool{
				Meta: manifest.Meta{File: manifest.Cluster, APIVersion: "v1", Kind: "Nodes", Name: name}, Cloud: cloudOf(source),
				LabelsKnown: true, Taints: taints(n),
			}
			for _, k := range slices.Sorted(maps.Keys(labels)) {
				p.Labels = append(p.Labels, manifest.Pair{Key: k, Value: labels[k]})
			}
			byName[name] = p
		}
		p.Labels = slices.DeleteFunc(p.Labels, func(kv manifest.Pair) bool { return labels[kv.Key] != kv.Value })
		mine := taints(n)
		p.Taints = slices.DeleteFunc(p.Taints, func(t manifest.Taint) bool { return !slices.Contains(mine, t) })
		p.Zones = add(p.Zones, labels[manifest.LabelZone])
		p.InstanceTypes = add(p.InstanceTypes, labels[manifest.LabelInstanceType])
		p.Capacity = add(p.Capacity, capacity(labels))
	}
	var out []*manifest.Pool
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

func poolOf(labels map[string]string) (name, label string) {
	for _, l := range poolLabels() {
		if labels[l] != "" {
			return labels[l], l
		}
	}
	return "", ""
}

func cloudOf(label string) manifest.Cloud {
	switch label {
	case "eks.amazonaws.com/nodegroup", "alpha.eksctl.io/nodegroup-name":
		return manifest.AWS
	case "cloud.google.com/gke-nodepool":
		return manifest.GCP
	case "kubernetes.azure.com/agentpool":
		return manifest.Azure
	}
	return ""
}

func capacity(labels map[string]string) string {
	if labels[manifest.LabelCapacity] == manifest.Spot || labels[manifest.LabelEKSCapacity] == "SPOT" ||
		labels[manifest.LabelGKESpot] == "true" || labels[manifest.LabelGKEPreempt] == "true" || labels[manifest.LabelAKSPriority] == "spot" {
		return manifest.Spot
	}
	return manifest.OnDemand
}

func taints(n *unstructured.Unstructured) (out []manifest.Taint) {
	list, _, _ := unstructured.NestedSlice(n.Object, "spec", "taints")
	for _, item := range list {
		t, ok := item.(map[string]any)
		if !ok {
			continue
		}
		str := func(key string) string { s, _ := t[key].(string); return s }
		out = append(out, manifest.Taint{Key: str("key"), Value: str("value"), Effect: str("effect")})
	}
	return out
}

func add(list []string, value string) []string {
	if value == "" || slices.Contains(list, value) {
		return list
	}
	return append(list, value)
}
