package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// TestApplyPlan: only numbers and names change, where they stand.
func TestApplyPlan(t *testing.T) {
	before, err := os.ReadFile("../../examples/market-intel-brain/platform.yaml")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "platform.yaml")
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	advice := []plan.Advice{{Pool: "gateway", Nodes: 3, Headroom: 9}, {
		Pool: "engine", Nodes: 3, Headroom: 1,
		Types: []plan.TypeAdvice{{Type: "c5.xlarge", Named: true}, {Type: "c5a.xlarge", Named: true}, {Type: "c5d.xlarge", Named: true},
			{Type: "c5ad.xlarge", Named: true}, {Type: "m5.xlarge"}, {Type: "c5n.xlarge", Named: true, Why: "dearer"}},
		Services: []plan.ServiceAdvice{{Service: "engine", Declared: 3, Replicas: 4}, {Service: "go-gateway", Declared: 3, Replicas: 4, Scaled: true}},
	}, {Pool: "analytics", Nodes: 2}}
	if err := applyPlan(Streams{Out: io.Discard, Err: &said}, path, advice); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(string(before), "size: {min: 2, desired: 3, max: 10}", "size: {min: 2, desired: 12, max: 12}", 1)
	want = strings.Replace(want, "size: {min: 2, desired: 3, max: 12}", "size: {min: 2, desired: 4, max: 12}", 1)
	want = strings.Replace(want, "[c5.xlarge, c5a.xlarge, c5d.xlarge, c5n.xlarge, c5ad.xlarge]", "[c5.xlarge, c5a.xlarge, c5d.xlarge, c5ad.xlarge, m5.xlarge]", 1)
	want = strings.Replace(want, "    replicas: 3\n    resources: {cpu: 500m, memory: 512Mi}", "    replicas: 4\n    resources: {cpu: 500m, memory: 512Mi}", 1)
	want = strings.Replace(want, "      min: 3\n      max: 10\n", "      min: 4\n      max: 10\n", 1)
	if string(after) != want {
		t.Errorf("the file is now:\n%s", after)
	}
	if !strings.Contains(said.String(), "changed 2 pools") {
		t.Errorf("said %q", said.String())
	}
}

func TestSetNames(t *testing.T) {
	block := "a:\n  - m5.large # the first\n  - \"c5.large\" # quoted\n  - r5.large # the last\nb: 1\n"
	at := []spec.Position{{Line: 2, Column: 5}, {Line: 3, Column: 5}, {Line: 4, Column: 5}}
	old := []string{"m5.large", "c5.large", "r5.large"}
	for _, tt := range []struct {
		name, text string
		at         []spec.Position
		now        []string
		want       string
	}{
		{"one goes", block, at, []string{"m5.large", "r5.large"}, "a:\n  - m5.large # the first\n  - r5.large # the last\nb: 1\n"},
		{"the last goes, one comes", block, at, []string{"m5.large", "c5.large", "m6.large"}, "a:\n  - m5.large # the first\n  - \"c5.large\" # quoted\n  - m6.large\nb: 1\n"},
		{"one comes", block, at, []string{"m5.large", "c5.large", "r5.large", "m6.large"}, "a:\n  - m5.large # the first\n  - \"c5.large\" # quoted\n  - r5.large # the last\n  - m6.large\nb: 1\n"},
		{"in brackets", "a: [m5.large, 'c5.large', r5.large] # all\n", []spec.Position{{Line: 1, Column: 5}, {Line: 1, Column: 15}, {Line: 1, Column: 27}}, []string{"c5.large", "m6.large"}, "a: [c5.large, m6.large] # all\n"},
		{"elsewhere", "x" + block, []spec.Position{{Line: 1, Column: 5}, {Line: 3, Column: 5}, {Line: 4, Column: 5}}, []string{"m5.large"}, ""},
		{"brackets over lines", "a: [m5.large,\n  c5.large,\n  r5.large]\n", []spec.Position{{Line: 1, Column: 5}, {Line: 2, Column: 3}, {Line: 3, Column: 3}}, []string{"m5.large"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := setNames([]byte(tt.text), tt.at, old, tt.now)
			if string(got) != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tt.want)
			}
		})
	}
}
