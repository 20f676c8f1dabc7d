// Package lint finds what would break when the machines under a platform are
// taken away. Its rules relate objects to each other (workload, disruption
// budget, autoscaler, service, spread constraint, node pool) and to the notice
// that a cloud gives; a rule that needs to know what spot is fires only for a
// workload that, as far as the input tells, runs or may run on spot.
//
// One rule is one file: identifier, title, reason, severity, check, a bad and a
// good example, and where one is safe, a fix. The examples are the tests of the
// rule and the pages in docs/lint. Rules are pure functions of a Target; they
// know neither files nor clusters nor how findings are shown.
//
//go:generate go test -run TestDocumentation -update .
package lint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A Severity says what a finding costs.
type Severity int

// The severities, from least to most.
const (
	Info    Severity = iota + 1 // worth knowing; costs nothing by itself
	Warning                     // loses requests, capacity or time when a node goes
	Error                       // refused by an API server, never runs, or never drains
)

func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("Severity(%d)", int(s))
}

// MarshalText writes the severity as its name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// ParseSeverity reads a severity by name.
func ParseSeverity(name string) (Severity, error) {
	for _, s := range []Severity{Info, Warning, Error} {
		if s.String() == name {
			return s, nil
		}
	}
	return 0, fmt.Errorf("unknown severity %q (want error, warning or info)", name)
}

// A Rule is one thing that goes wrong.
type Rule struct {
	ID       string // "EK" and three digits; never used again for another rule
	Title    string // the fault, as a phrase without a full stop
	Severity Severity
	Why      string // what happens, and when; Markdown
	Remedy   string // what to write instead; Markdown
	// Bad shows the fault. Each line on which the rule fires ends with a comment
	// of its ID. Good is the same input put right; no rule fires on it. Both are
	// YAML, or HCL if Terraform is set.
	Bad, Good string
	Terraform bool
	Check     func(*Target) []Finding
}

// Fixable reports whether --fix can repair the bad example.
func (r *Rule) Fixable() bool { return strings.Contains(r.Remedy, "`--fix`") }

// A Finding is one place where a rule fires.
type Finding struct {
	Rule     string
	Severity Severity // zero means that of the rule
	File     string
	Pos      manifest.Pos
	Object   string // the object at fault, as manifest.Meta.String names it
	Message  string
	Fix      *Fix

	object *manifest.Meta
}

// A Fix is an edit of the file of a finding that leaves comments and format
// alone.
type Fix struct {
	Description string
	Edits       []Edit
}

// An Edit replaces Old, which stands at Line and Column (after an opening quote,
// if there is one), by New. With an empty Old it inserts New as lines of their
// own before Line.
type Edit struct {
	Line, Column int
	Old, New     string
}

// A Suppressed finding is one that its object ignores for a stated reason.
type Suppressed struct {
	Finding
	Reason string
}

// A Result is what all rules found, in order of file, line and rule.
type Result struct {
	Findings   []Finding
	Suppressed []Suppressed
}

// Worst returns the highest severity among the findings, 0 where there is none.
func (r *Result) Worst() Severity {
	worst := Severity(0)
	for i := range r.Findings {
		worst = max(worst, r.Findings[i].Severity)
	}
	return worst
}

// Run checks the target against rules.
func Run(t *Target, rules []Rule) Result {
	var out Result
	for i := range rules {
		rule := &rules[i]
		for _, f := range rule.Check(t) {
			f.Rule = rule.ID
			if f.Severity == 0 {
				f.Severity = rule.Severity
			}
			if reason, ok := ignored(f.object, rule.ID); ok {
				out.Suppressed = append(out.Suppressed, Suppressed{f, reason})
				continue
			}
			out.Findings = append(out.Findings, f)
		}
	}
	slices.SortStableFunc(out.Findings, compare)
	slices.SortStableFunc(out.Suppressed, func(a, b Suppressed) int { return compare(a.Finding, b.Finding) })
	return out
}

func compare(a, b Finding) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Rule, b.Rule),
		cmp.Compare(a.Object, b.Object), cmp.Compare(a.Message, b.Message))
}

// ignored reports whether an object silences a rule, and why.
func ignored(m *manifest.Meta, rule string) (reason string, ok bool) {
	if m == nil {
		return "", false
	}
	for _, ig := range m.Ignores {
		if ig.Rule == rule && ig.Reason != "" {
			return ig.Reason, true
		}
	}
	return "", false
}

// at returns a finding about m at pos, or at the object itself where pos is not
// known.
func at(m *manifest.Meta, pos manifest.Pos, format string, args ...any) Finding {
	switch {
	case m.File == manifest.Cluster:
		pos = manifest.Pos{}
	case pos.Line == 0:
		pos = m.Pos
	}
	return Finding{File: m.File, Pos: pos, Object: m.String(), Message: fmt.Sprintf(format, args...), object: m}
}
