package render

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPatchBuilds lets kustomize lay the patches over workloads that a team
// wrote, and looks for what each side brought.
func TestPatchBuilds(t *testing.T) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("kubectl, whose kustomize builds the patches, is not installed")
	}
	p := reference(t)
	dir := t.TempDir()
	files, err := Render(p, Options{Patch: true, Only: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, filepath.Join(dir, "evenkeel"), files)
	var base strings.Builder
	for _, s := range p.Services {
		kind := "Deployment"
		if s.Stateful != nil {
			kind = "StatefulSet"
		}
		data, err := yaml.Marshal(map[string]any{
			"apiVersion": "apps/v1", "kind": kind,
			"metadata": map[string]any{"name": s.Name, "namespace": p.Cluster.Namespace},
			"spec": map[string]any{
				"selector": map[string]any{"matchLabels": map[string]any{"app": s.Name}},
				"template": map[string]any{
					"metadata": map[string]any{"labels": map[string]any{"app": s.Name}},
					"spec": map[string]any{
						"containers": []any{
							map[string]any{"name": s.Name, "image": "team/own:1", "env": []any{map[string]any{"name": "TEAM", "value": "a"}}},
							map[string]any{"name": "sidecar", "image": "team/sidecar:1"},
						},
						"topologySpreadConstraints": []any{map[string]any{"topologyKey": zoneKey, "maxSkew": 7, "whenUnsatisfiable": "ScheduleAnyway"}},
					},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		base.WriteString("---\n" + string(data))
	}
	for name, text := range map[string]string{
		"base.yaml":          base.String(),
		"kustomization.yaml": "resources: [base.yaml]\ncomponents: [evenkeel/kubernetes]\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	built, err := exec.CommandContext(t.Context(), kubectl, "kustomize", dir).Output()
	if err != nil {
		t.Fatalf("building: %v", err)
	}
	workloads := 0
	for _, o := range objects(t, []File{{Path: "built.yaml", Data: built}}) {
		name, _ := field(o, "metadata", "name").(string)
		s, ok := p.Service(name)
		if kind := o["kind"]; !ok || kind != "Deployment" && kind != "StatefulSet" {
			continue
		}
		workloads++
		pod := field(o, "spec", "template", "spec")
		containers, _ := field(pod, "containers").([]any)
		constraints, _ := field(pod, "topologySpreadConstraints").([]any)
		if len(containers) != 2 || len(constraints) != 2 {
			t.Errorf("%s: %d containers and %d constraints, want 2 of each", name, len(containers), len(constraints))
			continue
		}
		own := containers[0]
		if field(own, "name") != name {
			own = containers[1]
		}
		if field(own, "image") != "team/own:1" || envOf(own, "TEAM") != "a" || envOf(own, "EVENKEEL_GRACE_SECONDS") == nil {
			t.Errorf("%s: the container lost its own fields or did not get ours: %v", name, own)
		}
		if field(o, "spec", "template", "metadata", "labels", "app") != name {
			t.Errorf("%s: the team's label is gone", name)
		}
		if got := field(pod, "terminationGracePeriodSeconds"); got != s.Drain.Grace.Seconds() {
			t.Errorf("%s: grace = %v, want %v", name, got, s.Drain.Grace)
		}
		if strings.Contains(string(built), "$patch") {
			t.Error("a patch directive was left in the output")
		}
	}
	if workloads != len(p.Services) {
		t.Errorf("%d workloads were patched, want %d", workloads, len(p.Services))
	}
}
