// Package report writes what the linter found: as a table for people, as JSON
// and SARIF for machines, as workflow commands for GitHub. It decides nothing
// about findings; every form says the same.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/evenkeel-dev/evenkeel/internal/lint"
	"github.com/evenkeel-dev/evenkeel/internal/lint/manifest"
)

// A Report is the outcome of one run.
type Report struct {
	lint.Result
	Invalid      []*manifest.Error // documents that could not be read
	InvalidCount int               // all of them; Invalid holds the first
	Notes        []string          // what was left out on purpose
	Documents    int
	Workloads    int
	Fixed        int
	Rules        []lint.Rule
	Version      string
}

// Formats lists the names that Write understands.
func Formats() []string { return []string{"table", "json", "sarif", "github"} }

// Write writes the report in a format.
func (r *Report) Write(w io.Writer, format string) error {
	switch format {
	case "table":
		return r.table(w)
	case "json":
		return r.json(w)
	case "sarif":
		return r.sarif(w)
	case "github":
		return r.github(w)
	}
	return fmt.Errorf("unknown format %q (want %s)", format, strings.Join(Formats(), ", "))
}

// table writes findings grouped by file, then a line of totals.
func (r *Report) table(w io.Writer) error {
	p := &printer{w: w}
	file := ""
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.File != file || i == 0 {
			if i > 0 {
				p.printf("\n")
			}
			file = f.File
			p.printf("%s\n", plain(file))
		}
		p.printf("  %-7s  %-7s  %s  %s: %s%s\n", place(f.Pos), f.Severity, f.Rule, plain(f.Object), plain(f.Message), fixable(f))
	}
	if len(r.Findings) > 0 {
		p.printf("\n")
	}
	counts := map[lint.Severity]int{}
	for i := range r.Findings {
		counts[r.Findings[i].Severity]++
	}
	p.printf("%s, %s: %s, %s, %d info", count(r.Documents, "document"), count(r.Workloads, "workload"),
		count(counts[lint.Error], "error"), count(counts[lint.Warning], "warning"), counts[lint.Info])
	if n := len(r.Suppressed); n > 0 {
		p.printf(", %d ignored with a reason", n)
	}
	if r.Fixed > 0 {
		p.printf(", %d fixed", r.Fixed)
	}
	if r.InvalidCount > 0 {
		p.printf(", %d unreadable", r.InvalidCount)
	}
	p.printf("\n")
	if len(r.Findings) > 0 {
		p.printf("Explain a rule with: evenkeel lint --explain %s\n", r.Findings[0].Rule)
	}
	return p.err
}

func place(pos manifest.Pos) string {
	if pos.Line == 0 {
		return "-"
	}
	return fmt.Sprintf("%d:%d", pos.Line, max(pos.Column, 1))
}

func fixable(f *lint.Finding) string {
	if f.Fix == nil {
		return ""
	}
	return " [--fix]"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// plain makes text from a manifest safe to print: what is no printable character
// must not reach a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// A printer keeps the first write error, so that a table is written without a
// check after every line.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// The JSON form is meant to be kept by others: fields are added, never changed.
type jsonReport struct {
	Version    int           `json:"version"`
	Findings   []jsonFinding `json:"findings"`
	Suppressed []jsonFinding `json:"suppressed"`
	Invalid    []jsonInvalid `json:"invalid"`
	Notes      []string      `json:"notes"`
	Documents  int           `json:"documents"`
	Workloads  int           `json:"workloads"`
	Fixed      int           `json:"fixed"`
}

type jsonFinding struct {
	Rule     string        `json:"rule"`
	Severity lint.Severity `json:"severity"`
	File     string        `json:"file"`
	Line     int           `json:"line,omitempty"`
	Column   int           `json:"column,omitempty"`
	Object   string        `json:"object"`
	Message  string        `json:"message"`
	Fix      string        `json:"fix,omitempty"`
	Reason   string        `json:"reason,omitempty"`
}

type jsonInvalid struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func (r *Report) json(w io.Writer) error {
	out := jsonReport{
		Version: 1, Findings: []jsonFinding{}, Suppressed: []jsonFinding{}, Invalid: []jsonInvalid{}, Notes: append([]string{}, r.Notes...),
		Documents: r.Documents, Workloads: r.Workloads, Fixed: r.Fixed,
	}
	for i := range r.Findings {
		out.Findings = append(out.Findings, toJSON(&r.Findings[i], ""))
	}
	for i := range r.Suppressed {
		out.Suppressed = append(out.Suppressed, toJSON(&r.Suppressed[i].Finding, r.Suppressed[i].Reason))
	}
	for _, e := range r.Invalid {
		out.Invalid = append(out.Invalid, jsonInvalid{e.File, e.Pos.Line, e.Pos.Column, e.Msg})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func toJSON(f *lint.Finding, reason string) jsonFinding {
	out := jsonFinding{Rule: f.Rule, Severity: f.Severity, File: f.File, Line: f.Pos.Line, Column: f.Pos.Column, Object: f.Object, Message: f.Message, Reason: reason}
	if f.Fix != nil {
		out.Fix = f.Fix.Description
	}
	return out
}

// github writes workflow commands, which GitHub shows beside the lines of a
// pull request.
func (r *Report) github(w io.Writer) error {
	p := &printer{w: w}
	for _, e := range r.Invalid {
		p.printf("::error file=%s,line=%d,col=%d,title=unreadable::%s\n", property(e.File), max(e.Pos.Line, 1), max(e.Pos.Column, 1), data(e.Msg))
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		command := map[lint.Severity]string{lint.Error: "error", lint.Warning: "warning", lint.Info: "notice"}[f.Severity]
		p.printf("::%s file=%s,line=%d,col=%d,title=%s::%s\n", command, property(f.File), max(f.Pos.Line, 1), max(f.Pos.Column, 1), f.Rule, data(plain(f.Object)+": "+f.Message))
	}
	return p.err
}

// data and property escape text as the workflow commands want it.
func data(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func property(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
