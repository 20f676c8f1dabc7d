package load_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint/load"
)

const object = "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\n"

func named(name string) string { return strings.ReplaceAll(object, "NAME", name) }

// tree writes files into a new directory and makes it the current one.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func services(r *load.Result) (out []string) {
	for _, s := range r.Set.Services {
		out = append(out, s.Name)
	}
	return out
}

func TestDirectory(t *testing.T) {
	tree(t, map[string]string{
		"a.yaml":                        named("a") + "---\n" + named("a2"),
		"b.yml":                         named("b"),
		"c.json":                        `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}`,
		"notes.txt":                     named("txt"),
		"compose.yaml":                  "services: [\n", // not ours, and broken
		".github/workflow.yaml":         named("hidden"),
		"node_modules/x.yaml":           named("vendored"),
		"chart/Chart.yaml":              "name: chart\n",
		"chart/values.yaml":             "a: [",
		"chart/templates/x.yaml":        "{{ broken",
		"templates/t.yaml":              named("no-chart"),
		"overlay/kustomization.yaml":    "patches: [{path: patch.yaml}, {patch: \"a: b\\n\"}]\npatchesStrategicMerge: [../overlay/other.yaml]\n",
		"overlay/patch.yaml":            named("patch"),
		"overlay/other.yaml":            named("patch2"),
		"overlay/object.yaml":           named("overlay"),
		"infra/main.tf":                 `resource "aws_launch_template" "a" {}`,
		"infra/variables.tf":            `variable "x" {}`,
		"infra/modules/queue/queue.tf":  `resource "aws_launch_template" "b" {}`,
		"infra/.terraform/modules/x.tf": `resource "aws_launch_template" "c" {}`,
	})
	r, err := (&load.Reader{}).Read(t.Context(), []string{"."})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := services(r), []string{"a", "a2", "b", "c", "overlay", "no-chart"}; !slices.Equal(got, want) {
		t.Errorf("services %v, want %v", got, want)
	}
	if len(r.Set.LaunchTemplates) != 2 {
		t.Errorf("%d launch templates, want 2", len(r.Set.LaunchTemplates))
	}
	if len(r.Invalid) != 0 {
		t.Errorf("invalid: %v", r.Invalid)
	}
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "helm template chart") || !strings.Contains(notes, "compose.yaml") {
		t.Errorf("notes: %s", notes)
	}
}

func TestNamedFilesAreHeldToMore(t *testing.T) {
	tree(t, map[string]string{"compose.yaml": "services: [\n"})
	r, err := (&load.Reader{}).Read(t.Context(), []string{"compose.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if r.InvalidCount != 1 || r.Invalid[0].File != "compose.yaml" {
		t.Errorf("invalid: %v", r.Invalid)
	}
}

// TestOrder reads many documents on many workers: they come out as they went in.
func TestOrder(t *testing.T) {
	var text strings.Builder
	var want []string
	for i := range 5000 {
		name := "s" + strings.Repeat("x", i%7) + string(rune('a'+i%26))
		want = append(want, name)
		text.WriteString(named(name) + "---\n")
	}
	r, err := (&load.Reader{Stdin: strings.NewReader(text.String()), Workers: 8}).Read(t.Context(), []string{load.Stdin})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(services(r), want) {
		t.Error("the documents are out of order")
	}
}

func TestErrorsAreBounded(t *testing.T) {
	text := strings.Repeat("a: [\n---\n", 1000) + named("last")
	r, err := (&load.Reader{Stdin: strings.NewReader(text)}).Read(t.Context(), []string{load.Stdin})
	if err != nil {
		t.Fatal(err)
	}
	if r.InvalidCount != 1000 || len(r.Invalid) > 100 || len(r.Invalid) == 0 || r.Invalid[0].Pos.Line != 1 {
		t.Errorf("%d invalid, %d kept", r.InvalidCount, len(r.Invalid))
	}
	if !slices.Equal(services(r), []string{"last"}) {
		t.Error("the good document was not read")
	}
}

func TestOverlayAndMissing(t *testing.T) {
	tree(t, map[string]string{"a.yaml": named("old")})
	r, err := (&load.Reader{Overlay: map[string][]byte{"a.yaml": []byte(named("new"))}}).Read(t.Context(), []string{"a.yaml"})
	if err != nil || !slices.Equal(services(r), []string{"new"}) {
		t.Errorf("%v, %v", services(r), err)
	}
	if _, err := (&load.Reader{}).Read(t.Context(), []string{"absent.yaml"}); err == nil {
		t.Error("a missing file is no error")
	}
}
