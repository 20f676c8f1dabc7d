package render

import (
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// The structs below are strategic-merge patches: they hold only what Evenkeel
// decides, so a team's own manifest keeps everything else. The API's own types
// would not do, because they write fields that were never set.

type workloadPatch struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Metadata   patchMeta      `json:"metadata"`
	Spec       map[string]any `json:"spec"`
}

type patchMeta struct {
	Name        string            `json:"name,omitempty"`
	Namespace   string            `json:"namespace,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// patchFiles returns a kustomize component that adds to existing workloads what
// they need to live on spot machines, and beside them the objects that such
// manifests usually lack. Workload and container must carry the service's name.
func patchFiles(p *spec.Platform) ([]File, error) {
	var out []File
	resources := []any{"budgets.yaml", "priorities.yaml"}
	budgets := manifest{path: "kubernetes/budgets.yaml"}
	var patches []any
	for _, s := range p.Services {
		budgets.objects = append(budgets.objects, budget(p, s))
		name := fmt.Sprintf("patch-%s.yaml", s.Name)
		patches = append(patches, map[string]any{"path": name})
		_, data, err := encodeObject(patchOf(p, s))
		if err != nil {
			return nil, fmt.Errorf("patching %s: %w", s.Name, err)
		}
		out = append(out, File{Path: "kubernetes/" + name, Data: append([]byte(header), data...)})
	}
	priorities := manifest{path: "kubernetes/priorities.yaml", objects: priorityClasses(p)}
	all := []manifest{budgets, priorities}
	if h := headroom(p); len(h) > 0 {
		resources = append(resources, "headroom.yaml")
		all = append(all, manifest{path: "kubernetes/headroom.yaml", objects: h})
	}
	for _, m := range all {
		data, err := m.encode(func(string) bool { return true })
		if err != nil {
			return nil, err
		}
		out = append(out, File{Path: m.path, Data: data})
	}
	_, data, err := encodeObject(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1alpha1",
		"kind":       "Component",
		"resources":  resources,
		"patches":    patches,
	})
	if err != nil {
		return nil, err
	}
	return append(out, File{Path: "kubernetes/kustomization.yaml", Data: append([]byte(header), data...)}), nil
}

func patchOf(p *spec.Platform, s spec.Service) workloadPatch {
	t := podTemplate(p, s)
	c := map[string]any{
		"name":         s.Name,
		"env":          drainEnv(s),
		"volumeMounts": t.Spec.Containers[0].VolumeMounts,
	}
	if l := preStop(s); l != nil {
		c["lifecycle"] = l
	}
	pod := map[string]any{
		"affinity":    t.Spec.Affinity,
		"tolerations": t.Spec.Tolerations,
		// Merged by topology key: a selector of the team's own is narrowed to ours,
		// which its pods carry too.
		"topologySpreadConstraints":     t.Spec.TopologySpreadConstraints,
		"terminationGracePeriodSeconds": t.Spec.TerminationGracePeriodSeconds,
		"priorityClassName":             t.Spec.PriorityClassName,
		"volumes":                       t.Spec.Volumes,
		"containers":                    []any{c},
	}
	template := map[string]any{
		// The budget and the spread find the pods by these labels. The workload's
		// own selector cannot change, and need not.
		"metadata": map[string]any{"labels": selector(p, s.Name), "annotations": t.Annotations},
		"spec":     pod,
	}
	w := workloadPatch{
		APIVersion: "apps/v1", Kind: "Deployment",
		Metadata: patchMeta{Name: s.Name, Namespace: p.Cluster.Namespace},
		Spec:     map[string]any{"template": template},
	}
	if s.Stateful != nil {
		w.Kind = "StatefulSet"
	} else {
		w.Spec["strategy"] = deployment(p, s).Spec.Strategy
	}
	if s.Scaling == nil {
		w.Spec["replicas"] = s.Replicas
	}
	return w
}
