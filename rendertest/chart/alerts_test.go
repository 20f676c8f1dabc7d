package chart

import (
	"os"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/render"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// TestRules: the chart's alerts are those that `evenkeel render` writes of any
// platform. It comes first, so that -update writes them before what is made of them.
func TestRules(t *testing.T) {
	const example = "../../examples/market-intel-brain/platform.yaml"
	f, err := os.Open(example)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	platform, err := spec.Parse(f, example)
	if err != nil {
		t.Fatal(err)
	}
	files, err := render.Render(platform, render.Options{Only: []string{"prometheus"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if file.Path != "prometheus/rules.yaml" {
			continue
		}
		var rules struct {
			Groups []map[string]any `json:"groups"`
		}
		if err := yaml.Unmarshal(file.Data, &rules); err != nil {
			t.Fatal(err)
		}
		rules.Groups = slices.DeleteFunc(rules.Groups, func(g map[string]any) bool { return g["name"] != "evenkeel-interruptions" })
		if len(rules.Groups) != 1 {
			t.Fatalf("%d groups are about interruptions, want 1", len(rules.Groups))
		}
		out, err := yaml.Marshal(rules)
		if err != nil {
			t.Fatal(err)
		}
		sameAs(t, chartDir+"/files/rules.yaml", string(out))
		return
	}
	t.Fatal("there are no rules")
}
