package rendertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDashboardTypes gives the dashboards to the TypeScript compiler as values
// of Grafana's own type, which knows every field and enum.
func TestDashboardTypes(t *testing.T) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Skip("npm, which brings Grafana's types, is not installed")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private": true, "type": "module"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(npm, "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "@grafana/schema@13.2.3", "typescript@5.9.3"); err != nil {
		t.Skipf("Grafana's types are not to be had: %v\n%s", err, out)
	}
	compile := func(name, text string) (string, error) {
		file := filepath.Join(dir, name+".ts")
		source := "import type { Dashboard } from \"@grafana/schema\";\nexport const d: Dashboard = " + text + ";\n"
		if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
			t.Fatal(err)
		}
		return run(filepath.Join(dir, "node_modules", ".bin", "tsc"), "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--moduleResolution", "nodenext", file)
	}
	for name := range dashboards(t) {
		data, err := os.ReadFile(filepath.Join(rendered, "grafana", name))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := compile(strings.TrimSuffix(name, ".json"), string(data)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if out, err := compile("bad", strings.Replace(string(data), `"h": `, `"height": `, 1)); err == nil {
			t.Errorf("%s with a field that Grafana does not know was accepted: %s", name, out)
		}
	}
}
