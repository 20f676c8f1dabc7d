package rehearse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// fieldManager signs what the rehearsal applies.
const fieldManager = "evenkeel-rehearse"

// applier applies manifests as kubectl apply --server-side does, with strict
// validation: a field that the API server does not know is an error.
type applier struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

func newApplier(cfg *rest.Config) (*applier, error) {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a discovery client: %w", err)
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its kinds: %w", err)
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return &applier{client, restmapper.NewDiscoveryRESTMapper(groups)}, nil
}

// applyAll applies objects in their order.
func (a *applier) applyAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := a.apply(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) apply(ctx context.Context, o *unstructured.Unstructured) error {
	gvk := o.GroupVersionKind()
	m, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	var r dynamic.ResourceInterface = a.client.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		r = a.client.Resource(m.Resource).Namespace(o.GetNamespace())
	}
	body, err := o.MarshalJSON()
	if err != nil {
		return fmt.Errorf("encoding %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	force := true
	_, err = r.Patch(ctx, o.GetName(), "application/apply-patch+yaml", body, metav1.PatchOptions{
		FieldManager: fieldManager, Force: &force, FieldValidation: metav1.FieldValidationStrict,
	})
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", gvk.Kind, o.GetName(), err)
	}
	return nil
}

// manifests decodes the documents of a YAML file.
func manifests(name string, data []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	dec := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		var o unstructured.Unstructured
		err := dec.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("decoding %s: %w", name, err)
		}
		if len(o.Object) > 0 {
			out = append(out, &o)
		}
	}
}

// manifestsIn decodes every YAML file of a file system. Workloads are returned
// apart: they are applied when there are nodes to spread them over, and when the
// Services exist whose addresses their pods are told.
func manifestsIn(files fs.FS) (settings, workloads []*unstructured.Unstructured, err error) {
	var namespaces []*unstructured.Unstructured
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".yaml") {
			return err
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		docs, err := manifests(path, data)
		for _, o := range docs {
			switch o.GetKind() {
			case "Namespace":
				namespaces = append(namespaces, o)
			case "Deployment", "StatefulSet", "DaemonSet", "Job":
				workloads = append(workloads, o)
			default:
				settings = append(settings, o)
			}
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading manifests: %w", err)
	}
	return append(namespaces, settings...), workloads, nil
}

type envVar struct{ name, value string }

// extend appends arguments and variables to the first container of a Deployment.
func extend(o *unstructured.Unstructured, args []string, env []envVar) error {
	containers, ok, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	if err != nil || !ok {
		return fmt.Errorf("extending %s: it has no containers (%v)", o.GetName(), err)
	}
	c, ok := containers[0].(map[string]any)
	if !ok {
		return fmt.Errorf("extending %s: its container is not an object", o.GetName())
	}
	list, _, err := unstructured.NestedSlice(c, "args")
	if err != nil {
		return fmt.Errorf("extending %s: %w", o.GetName(), err)
	}
	for _, a := range args {
		list = append(list, a)
	}
	vars, _, err := unstructured.NestedSlice(c, "env")
	if err != nil {
		return fmt.Errorf("extending %s: %w", o.GetName(), err)
	}
	for _, e := range env {
		vars = slices.DeleteFunc(vars, func(v any) bool { return v.(map[string]any)["name"] == e.name })
		vars = append(vars, map[string]any{"name": e.name, "value": e.value})
	}
	c["args"], c["env"] = list, vars
	return unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
}
