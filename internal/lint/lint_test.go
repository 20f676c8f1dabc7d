package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
	"github.com/evenkeel-dev/evenkeel/internal/lint/terraform"
)

// read decodes YAML or HCL; any error in it fails the test.
func read(t *testing.T, file, text string, hcl bool) *manifest.Set {
	t.Helper()
	set := &manifest.Set{}
	if hcl {
		got, errs := terraform.Decode([]terraform.File{{Name: file, Text: []byte(text)}})
		if len(errs) > 0 {
			t.Fatalf("decoding: %v", errs[0])
		}
		return got
	}
	for doc, err := range manifest.Split(file, strings.NewReader(text)) {
		if err != nil {
			t.Fatalf("splitting: %v", err)
		}
		one, errs := manifest.Decode(file, doc)
		if len(errs) > 0 {
			t.Fatalf("decoding: %v", errs[0])
		}
		set.Add(one)
	}
	return set
}

var marker = regexp.MustCompile(`# (EK\d{3})$`)

// marked returns the findings that a text announces in its comments.
func marked(text string) (want []string) {
	for i, line := range strings.Split(text, "\n") {
		if m := marker.FindStringSubmatch(line); m != nil {
			want = append(want, fmt.Sprintf("line %d: %s", i+1, m[1]))
		}
	}
	return want
}

func found(r Result) (got []string) {
	for _, f := range r.Findings {
		got = append(got, fmt.Sprintf("line %d: %s", f.Pos.Line, f.Rule))
	}
	return got
}

// TestExamples holds every rule to its own documentation: the bad example shows
// exactly the marked fault and no other rule's, and no rule at all fires on the
// good one.
func TestExamples(t *testing.T) {
	for _, rule := range Rules() {
		t.Run(rule.ID, func(t *testing.T) {
			if len(marked(rule.Bad)) == 0 {
				t.Fatal("the bad example marks no line")
			}
			for name, text := range map[string]string{"bad": rule.Bad, "good": rule.Good} {
				set := read(t, name, text, rule.Terraform)
				if len(set.Fragments) > 0 {
					t.Errorf("%s: %s is taken for a fragment", name, set.Fragments[0])
				}
				result := Run(NewTarget(set, Options{}), Rules())
				if got, want := found(result), marked(text); !slices.Equal(got, want) {
					t.Errorf("%s example: found\n  %s\nwant\n  %s", name, strings.Join(messages(result), "\n  "), strings.Join(want, "\n  "))
				}
			}
		})
	}
}

func messages(r Result) (out []string) {
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("line %d: %s %s: %s", f.Pos.Line, f.Rule, f.Object, f.Message))
	}
	return out
}

func TestRulesAreWhole(t *testing.T) {
	id := regexp.MustCompile(`^EK\d{3}$`)
	var ids []string
	for _, r := range Rules() {
		ids = append(ids, r.ID)
		switch {
		case !id.MatchString(r.ID):
			t.Errorf("%q is no identifier", r.ID)
		case r.Title == "" || strings.HasSuffix(r.Title, ".") || r.Why == "" || r.Remedy == "" || r.Bad == "" || r.Good == "" || r.Severity == 0 || r.Check == nil:
			t.Errorf("%s: something is missing", r.ID)
		}
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("identifiers are not in order, or not unique: %v", ids)
	}
	if !slices.Equal(ids, IDs()) {
		t.Errorf("IDs() = %v\nRules() = %v", IDs(), ids)
	}
}

// FuzzRules runs every rule on whatever can be decoded, on spot and not.
func FuzzRules(f *testing.F) {
	for _, r := range Rules() {
		if !r.Terraform {
			f.Add(r.Bad)
		}
	}
	rules := Rules()
	f.Fuzz(func(t *testing.T, text string) {
		set := &manifest.Set{}
		for doc, err := range manifest.Split("f", strings.NewReader(text)) {
			if err == nil {
				one, _ := manifest.Decode("f", doc)
				set.Add(one)
			}
		}
		for _, spot := range []bool{false, true} {
			for _, finding := range Run(NewTarget(set, Options{AssumeSpot: spot}), rules).Findings {
				if finding.Pos.Line < 1 || finding.Message == "" || finding.Severity == 0 {
					t.Errorf("a finding without place or words: %+v", finding)
				}
			}
		}
	})
}
