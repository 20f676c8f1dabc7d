// Package render turns a valid platform into files: Kubernetes manifests,
// Karpenter and KEDA objects, alert rules, dashboards and Terraform. Every
// output family is a pure function of the platform in a file of its own; the
// same platform always gives the same bytes. The package writes nothing, reaches
// nothing, and knows of a particular cloud only in the files named after it.
package render

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// A File is one rendered file. Path is relative and uses slashes.
type File struct {
	Path string
	Data []byte
}

// Options selects what is rendered. The zero value renders everything.
type Options struct {
	// Only keeps the families (kubernetes, karpenter, keda, prometheus, grafana,
	// terraform) or Kubernetes kinds that it names. If empty, all.
	Only []string
	// Patch renders kustomize patches for workloads that exist, instead of the
	// workloads themselves.
	Patch bool
	// FixedReplicas is for clusters without KEDA: services with scaling get the
	// number of replicas that they fall back to, and no ScaledObject.
	FixedReplicas bool
}

// A family is one kind of output. Exactly one of the two functions is set:
// objects can be chosen by their kind, files only as a whole.
type family struct {
	name    string
	objects func(*spec.Platform) []manifest
	files   func(*spec.Platform) ([]File, error)
}

// A manifest is a YAML file of Kubernetes objects.
type manifest struct {
	path    string
	objects []any
}

// families lists the outputs for a platform in the order in which they are
// written.
func families(p *spec.Platform, patch bool) ([]family, error) {
	c, err := cloudOf(p)
	if err != nil {
		return nil, err
	}
	kubernetes := family{name: "kubernetes", objects: func(p *spec.Platform) []manifest { return kubernetesManifests(p, c) }}
	if patch {
		kubernetes = family{name: "kubernetes", files: patchFiles}
	}
	all := []family{
		kubernetes,
		{name: "keda", objects: kedaManifests},
		{name: "prometheus", files: prometheusFiles},
		{name: "grafana", files: grafanaFiles},
	}
	return append(all, c.families...), nil
}

// Render returns the files of a platform, sorted by path.
func Render(p *spec.Platform, o Options) ([]File, error) {
	if o.FixedReplicas {
		p = withoutScaling(p)
	}
	all, err := families(p, o.Patch)
	if err != nil {
		return nil, err
	}
	var out []File
	found := make(map[string]bool) // lower-case name of a family or kind
	for _, f := range all {
		wanted := len(o.Only) == 0 || contains(o.Only, f.name)
		found[f.name] = true
		if f.files != nil {
			if !wanted {
				continue
			}
			files, err := f.files(p)
			if err != nil {
				return nil, fmt.Errorf("rendering %s: %w", f.name, err)
			}
			out = append(out, files...)
			continue
		}
		for _, m := range f.objects(p) {
			data, err := m.encode(func(kind string) bool {
				found[strings.ToLower(kind)] = true
				return wanted || contains(o.Only, kind)
			})
			if err != nil {
				return nil, fmt.Errorf("rendering %s: %w", m.path, err)
			}
			if len(data) > 0 {
				out = append(out, File{Path: m.path, Data: data})
			}
		}
	}
	for _, name := range o.Only {
		if !found[strings.ToLower(name)] {
			return nil, fmt.Errorf("nothing of the kind %q is rendered for this platform; there are: %s", name, strings.Join(sortedKeys(found), ", "))
		}
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func withoutScaling(p *spec.Platform) *spec.Platform {
	fixed := *p
	fixed.Services = slices.Clone(p.Services)
	for i, s := range fixed.Services {
		if s.Scaling != nil {
			fixed.Services[i].Replicas, fixed.Services[i].Scaling = s.Scaling.Fallback, nil
		}
	}
	return &fixed
}

func contains(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
