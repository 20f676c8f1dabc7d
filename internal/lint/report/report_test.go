package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
	"github.com/evenkeel-dev/evenkeel/internal/lint/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample has one of everything, with text that each form must escape.
func sample() *report.Report {
	rules := lint.Rules()[:3]
	return &report.Report{
		Result: lint.Result{
			Findings: []lint.Finding{
				{Rule: "EK001", Severity: lint.Error, File: "a,b.yaml", Pos: manifest.Pos{Line: 3, Column: 5}, Object: "PodDisruptionBudget shop/cart", Message: "needs 100% of\nall"},
				{Rule: "EK002", Severity: lint.Info, File: manifest.Cluster, Object: "PodDisruptionBudget <x>\x1b[31m", Message: "selects nothing", Fix: &lint.Fix{Description: "add a label"}},
			},
			Suppressed: []lint.Suppressed{{Finding: lint.Finding{Rule: "EK003", Severity: lint.Warning, File: "a.yaml", Pos: manifest.Pos{Line: 9, Column: 1}, Object: "PodDisruptionBudget y", Message: "both"}, Reason: "agreed"}},
		},
		Invalid: []*manifest.Error{{File: "c.yaml", Pos: manifest.Pos{Line: 2, Column: 1}, Msg: "malformed YAML"}}, InvalidCount: 1,
		Notes: []string{"chart: skipped"}, Documents: 4, Workloads: 1, Fixed: 2, Version: "1.2.3",
		Rules: []lint.Rule{{ID: rules[0].ID, Title: "a", Why: "b", Remedy: "c", Severity: lint.Error}, {ID: rules[1].ID, Title: "d", Why: "e", Remedy: "f", Severity: lint.Warning}, {ID: rules[2].ID, Title: "g", Why: "h", Remedy: "i", Severity: lint.Info}},
	}
}

func TestForms(t *testing.T) {
	for _, format := range report.Formats() {
		t.Run(format, func(t *testing.T) {
			var got bytes.Buffer
			if err := sample().Write(&got, format); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", format+".golden")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs from %s (%v):\n%s", golden, err, got.Bytes())
			}
			if bytes.ContainsRune(got.Bytes(), '\x1b') {
				t.Error("a control character of a manifest reaches the output")
			}
			if format == "json" || format == "sarif" {
				if !json.Valid(got.Bytes()) {
					t.Error("this is no JSON")
				}
			}
		})
	}
	if err := sample().Write(&bytes.Buffer{}, "xml"); err == nil {
		t.Error("an unknown form was accepted")
	}
}

// TestNothing checks that machines get empty lists and not null.
func TestNothing(t *testing.T) {
	for _, format := range []string{"json", "sarif"} {
		var got bytes.Buffer
		if err := (&report.Report{Rules: lint.Rules()}).Write(&got, format); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got.Bytes(), []byte("null")) {
			t.Errorf("%s holds null:\n%s", format, got.Bytes())
		}
	}
}
