package report

import (
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
)

// Page returns the documentation of a rule in Markdown.
func Page(r *lint.Rule) string {
	var b strings.Builder
	b.WriteString("# " + r.ID + ": " + r.Title + "\n\n")
	b.WriteString("Severity: " + r.Severity.String())
	if r.Fixable() {
		b.WriteString(" · can be repaired by `evenkeel lint --fix`")
	}
	b.WriteString("\n\n" + r.Why + "\n\n")
	b.WriteString("## Found here\n\n" + fence(r, r.Bad) + "\n")
	b.WriteString("## Put right\n\n" + r.Remedy + "\n\n" + fence(r, r.Good) + "\n")
	b.WriteString("## Not applicable?\n\nSay so where the next reader looks:\n\n")
	if r.Terraform {
		b.WriteString("```hcl\n# evenkeel.dev/lint-ignore: " + r.ID + ": why it does not matter here\n```\n")
	} else {
		b.WriteString("```yaml\nmetadata:\n  annotations:\n    evenkeel.dev/lint-ignore: \"" + r.ID + ": why it does not matter here\"\n```\n")
	}
	return b.String()
}

func fence(r *lint.Rule, text string) string {
	language := "yaml"
	if r.Terraform {
		language = "hcl"
	}
	return "```" + language + "\n" + text + "```\n"
}

// Index returns the page that lists all rules.
func Index(rules []lint.Rule) string {
	var b strings.Builder
	b.WriteString(`# Rules of ` + "`evenkeel lint`" + `

Each rule has a page with its reason, an input on which it fires and the same input put right; both are tests of the
rule. The pages are generated from the rules (` + "`go generate ./internal/lint`" + `).

A rule that concerns spot fires only for a workload that, as far as the input tells, runs or may run on spot: it asks
for spot nodes, tolerates their taint, or a spot pool of the input takes it. ` + "`--assume-spot`" + ` treats every workload
whose placement is open so.

| rule | severity | finds |
| --- | --- | --- |
`)
	for i := range rules {
		r := &rules[i]
		fix := ""
		if r.Fixable() {
			fix = " (`--fix`)"
		}
		b.WriteString("| [" + r.ID + "](" + r.ID + ".md) | " + r.Severity.String() + " | " + r.Title + fix + " |\n")
	}
	b.WriteString(`
Severities: **error** means that an API server refuses it, that it never runs, or that it never drains; **warning** that
requests, capacity or time are lost when a node goes; **info** costs nothing by itself.

Exit codes: 0 nothing found (at ` + "`--fail-on`" + ` or above), 1 findings, 2 wrong usage or unreadable documents, 3 something
could not be done (a file, the cluster).
`)
	return b.String()
}
