package fix_test

import (
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/fix"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

func TestApply(t *testing.T) {
	one := func(e ...lint.Edit) []*lint.Fix { return []*lint.Fix{{Edits: e}} }
	for _, c := range []struct {
		name, text string
		fixes      []*lint.Fix
		want       string
		applied    int
	}{
		{"replace", "a: Spot # why\n", one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "spot"}), "a: spot # why\n", 1},
		{"replace after a quote", "a: \"Spot\"\n", one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "spot"}), "a: \"spot\"\n", 1},
		{"columns count runes", "{ключ: Spot}\n", one(lint.Edit{Line: 1, Column: 8, Old: "Spot", New: "spot"}), "{ключ: spot}\n", 1},
		{"insert", "a:\n  b: c\n", one(lint.Edit{Line: 2, New: "  x: y"}), "a:\n  x: y\n  b: c\n", 1},
		{"insert in a file of Windows", "a:\r\n  b: c\r\n", one(lint.Edit{Line: 2, New: "  x: y"}), "a:\r\n  x: y\r\n  b: c\r\n", 1},
		{"no line end at the end", "a:\n  b: Spot", one(lint.Edit{Line: 2, Column: 6, Old: "Spot", New: "spot"}), "a:\n  b: spot", 1},
		{"find on the line", "a: [sh, -c, 'x && run it']\n", one(lint.Edit{Line: 1, Old: "run it", New: "exec run it"}), "a: [sh, -c, 'x && exec run it']\n", 1},
		{"the place reads otherwise", "a: other\n", one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "spot"}), "a: other\n", 0},
		{"twice on the line", "a: b b\n", one(lint.Edit{Line: 1, Old: "b", New: "c"}), "a: b b\n", 0},
		{"beyond the end", "a: b\n", one(lint.Edit{Line: 9, Column: 1, Old: "a", New: "b"}), "a: b\n", 0},
		{"beyond the line", "a\n", one(lint.Edit{Line: 1, Column: 9, Old: "a", New: "b"}), "a\n", 0},
		{"all of a fix or nothing", "a: Spot\nb: c\n", one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "spot"}, lint.Edit{Line: 2, Column: 4, Old: "x", New: "y"}), "a: Spot\nb: c\n", 0},
		{"two fixes of one line", "a: Spot\n", append(one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "spot"}), one(lint.Edit{Line: 1, Column: 4, Old: "Spot", New: "on-demand"})...), "a: spot\n", 1},
		{"the same insert twice", "a:\n  b: c\n", append(one(lint.Edit{Line: 2, New: "  x: y"}), one(lint.Edit{Line: 2, New: "  x: y"})...), "a:\n  x: y\n  b: c\n", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, applied := fix.Apply([]byte(c.text), c.fixes)
			if string(got) != c.want || applied != c.applied {
				t.Errorf("got %q, %d applied; want %q, %d", got, applied, c.want, c.applied)
			}
		})
	}
}

// TestFixesRepair applies the fix of each fixable rule to its bad example: the
// finding must be gone, nothing new found, and no line lost.
func TestFixesRepair(t *testing.T) {
	fixable := 0
	for _, rule := range lint.Rules() {
		if !rule.Fixable() {
			continue
		}
		fixable++
		t.Run(rule.ID, func(t *testing.T) {
			before := check(t, rule.Bad)
			var fixes []*lint.Fix
			for i := range before.Findings {
				fixes = append(fixes, before.Findings[i].Fix)
			}
			if len(fixes) == 0 || fixes[0] == nil {
				t.Fatal("the bad example offers no fix")
			}
			repaired, applied := fix.Apply([]byte(rule.Bad), fixes)
			if applied != len(fixes) {
				t.Fatalf("%d of %d fixes applied", applied, len(fixes))
			}
			if after := check(t, string(repaired)); len(after.Findings) != 0 {
				t.Errorf("still found: %v\n%s", after.Findings, repaired)
			}
			if strings.Count(string(repaired), "# "+rule.ID) != strings.Count(rule.Bad, "# "+rule.ID) {
				t.Error("a comment was lost")
			}
		})
	}
	if fixable == 0 {
		t.Error("no rule is fixable")
	}
}

// TestExecInBlockScalar repairs a script in the form in which scripts are
// written.
func TestExecInBlockScalar(t *testing.T) {
	const text = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {karpenter.sh/capacity-type: spot}
      containers:
        - name: web
          image: web
          resources: {requests: {cpu: 1, memory: 1Gi}}
          command:
            - sh
            - -c
            - |
              # prepare
              ./migrate
              ./server --port 8080
`
	r := check(t, text)
	if len(r.Findings) != 1 || r.Findings[0].Fix == nil {
		t.Fatalf("findings: %+v", r.Findings)
	}
	got, applied := fix.Apply([]byte(text), []*lint.Fix{r.Findings[0].Fix})
	if want := strings.Replace(text, "./server", "exec ./server", 1); applied != 1 || string(got) != want {
		t.Errorf("%d applied:\n%s", applied, got)
	}
}

func check(t *testing.T, text string) lint.Result {
	t.Helper()
	set := &manifest.Set{}
	for doc, err := range manifest.Split("f", strings.NewReader(text)) {
		if err != nil {
			t.Fatal(err)
		}
		one, errs := manifest.Decode("f", doc)
		if errs != nil {
			t.Fatal(errs[0])
		}
		set.Add(one)
	}
	return lint.Run(lint.NewTarget(set, lint.Options{}), lint.Rules())
}
