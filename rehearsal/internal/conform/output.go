package conform

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Outputs are the formats of a report.
var outputs = []string{"table", "json", "junit"}

// write writes a report in one of the formats.
func (r *Report) write(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "junit":
		return r.writeJUnit(w)
	}
	return r.writeTable(w)
}

func (r *Report) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "Command: %s\n\n", strings.Join(r.Command, " "))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "STAGE\tENDED\tSLOWEST\tSENT\tANSWERED\tDOUBLED\tCUT\tFAILED\tRATE\tP99\t")
	for _, s := range r.Stages {
		slowest := 0.0
		for _, e := range s.Exits {
			slowest = max(slowest, e.Seconds)
		}
		doubled := "?"
		if s.Recorded {
			doubled = fmt.Sprint(s.Doubled)
		}
		fmt.Fprintf(t, "%s\t%d\t%.1f s\t%d\t%d\t%s\t%d\t%d\t%s\t%.0f ms\t\n",
			s.Name, len(s.Exits), slowest, s.Sent, s.Answered, doubled, s.Cut, s.Failed, s.Bound(), s.LatencyMs.P99)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range r.Stages {
		if s.Failed > 0 {
			fmt.Fprintf(w, "  %s failed by: %s\n", s.Name, counts(s.Causes))
		}
		for _, name := range sortedKeys(s.Streams) {
			if st := s.Streams[name]; st.Broken > 0 {
				fmt.Fprintf(w, "  %s streams broken by: %s\n", name, counts(st.Causes))
			}
		}
	}
	fmt.Fprintln(w)
	for _, l := range r.Levels {
		fmt.Fprintf(w, "%-10s %s  %s: %s\n", l.verdict(), l.Level, l.Text, l.Why)
	}
	if r.posts() && !r.recorded() {
		fmt.Fprintln(w, `
Doubled requests are not known: the command writes no ledger, one line of JSON on
standard output for each POST, {"ledger":"order","id":"the id of its body"}.`)
	}
	return nil
}

// posts reports whether any stage could have had POSTs.
func (r *Report) posts() bool {
	return slices.ContainsFunc(r.Stages, func(s StageResult) bool { return s.Protocol == string(http1) || s.Protocol == string(h2c) })
}

func (r *Report) recorded() bool {
	for _, s := range r.Stages {
		if s.Recorded {
			return true
		}
	}
	return false
}

func (l LevelResult) verdict() string {
	switch {
	case !l.Tested && l.Pass:
		return "not asked"
	case !l.Tested:
		return "NOT TESTED"
	case l.Pass:
		return "pass"
	}
	return "FAIL"
}

func counts(m map[string]int) string {
	var parts []string
	for _, k := range sortedKeys(m) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     float64     `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// writeJUnit writes a test case for each level, as CI systems show them.
func (r *Report) writeJUnit(w io.Writer) error {
	suite := junitSuite{Name: "evenkeel conform: " + strings.Join(r.Command, " "), Tests: len(r.Levels)}
	for _, s := range r.Stages {
		suite.Time += s.Seconds
	}
	for _, l := range r.Levels {
		c := junitCase{Class: "conform", Name: l.Level.String() + " " + l.Text}
		switch {
		case !l.Tested:
			c.Skipped = &junitMessage{l.verdict() + ": " + l.Why}
			suite.Skipped++
		case !l.Pass:
			c.Failure = &junitMessage{l.Why}
			suite.Failures++
		default:
			c.Output = l.Why
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
