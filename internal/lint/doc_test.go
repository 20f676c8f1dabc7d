package lint_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/report"
)

var update = flag.Bool("update", false, "rewrite docs/lint")

// TestDocumentation holds docs/lint to what the rules say of themselves.
func TestDocumentation(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "lint")
	pages := map[string]string{"README.md": report.Index(lint.Rules())}
	for _, r := range lint.Rules() {
		pages[r.ID+".md"] = report.Page(&r)
	}
	if *update {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, want := range pages {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range pages {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("docs/lint/%s is stale (%v); run go generate ./internal/lint", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if pages[e.Name()] == "" {
			t.Errorf("docs/lint/%s belongs to no rule", e.Name())
		}
	}
}
