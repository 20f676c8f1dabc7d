package slo

import (
	"bytes"
	"fmt"
	"strconv"

	"go.yaml.in/yaml/v3"
)

const header = "# Made of slo.yaml: GOWORK=off go test ./internal/slo -update\n"

type ruleFile struct {
	Groups []group `yaml:"groups"`
}

type group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval"`
	Rules    []rule `yaml:"rules"`
}

type rule struct {
	Record      string      `yaml:"record,omitempty"`
	Alert       string      `yaml:"alert,omitempty"`
	Expr        string      `yaml:"expr"`
	For         string      `yaml:"for,omitempty"`
	Labels      *labels     `yaml:"labels,omitempty"`
	Annotations *annotation `yaml:"annotations,omitempty"`
}

type labels struct {
	Severity string `yaml:"severity"`
	SLO      string `yaml:"slo"`
}

type annotation struct {
	Summary     string `yaml:"summary"`
	Description string `yaml:"description"`
	RunbookURL  string `yaml:"runbook_url"`
}

// Rules renders the recording rules and the alerts, as Prometheus reads them.
func Rules(f File) ([]byte, error) {
	g := group{Name: "mib-slo", Interval: "30s"}
	for _, s := range f.SLOs {
		for _, w := range []string{"5m", "30m", "1h", "6h"} {
			g.Rules = append(g.Rules, rule{Record: s.record(w), Expr: s.ratio(w)})
		}
	}
	for _, s := range f.SLOs {
		for _, b := range burns {
			limit := strconv.FormatFloat(b.factor*(1-s.Objective), 'g', 6, 64)
			g.Rules = append(g.Rules, rule{
				Alert:  s.alert(b),
				Expr:   fmt.Sprintf("%s > %s and %s > %s", s.record(b.long), limit, s.record(b.short), limit),
				For:    b.hold,
				Labels: &labels{b.severity, s.Name},
				Annotations: &annotation{
					Summary:     fmt.Sprintf("The error budget of %s is spent %g times too fast.", s.Name, b.factor),
					Description: fmt.Sprintf("{{ $value | humanizePercentage }} were bad over %s, enough for %s. The promise: %s, %s of them.", b.long, b.spent, s.Promise, share(s.Objective)),
					RunbookURL:  f.Runbooks + "/" + s.alert(b),
				},
			})
		}
	}
	return encode(ruleFile{[]group{g}})
}

// The structs below are promtool's format for tests of rules.

type testFile struct {
	RuleFiles          []string   `yaml:"rule_files"`
	EvaluationInterval string     `yaml:"evaluation_interval"`
	Tests              []ruleTest `yaml:"tests"`
}

type ruleTest struct {
	Name        string     `yaml:"name"`
	Interval    string     `yaml:"interval"`
	InputSeries []series   `yaml:"input_series"`
	ExprTests   []exprTest `yaml:"promql_expr_test"`
}

type series struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type exprTest struct {
	Expr     string   `yaml:"expr"`
	EvalTime string   `yaml:"eval_time"`
	Samples  []sample `yaml:"exp_samples"`
}

type sample struct {
	Labels string  `yaml:"labels"`
	Value  float64 `yaml:"value"`
}

// Tests renders a test of each alert for promtool's rule test runner: with events that
// are bad twice as often as the alert allows it fires, with half as often it is quiet,
// and when all is good again it ends although the long window still has the bad ones.
func Tests(f File) ([]byte, error) {
	out := testFile{RuleFiles: []string{"rules.yaml"}, EvaluationInterval: "1m"}
	for _, s := range f.SLOs {
		for _, b := range burns {
			limit := b.factor * (1 - s.Objective)
			test := func(name string, badFor, allFor int, badShare float64, at string, want float64) {
				out.Tests = append(out.Tests, ruleTest{s.alert(b) + " " + name, "1m", s.events(min(badShare, 1), badFor, allFor), []exprTest{{
					Expr:     fmt.Sprintf(`count(ALERTS{alertname=%q,alertstate="firing"}) or vector(0)`, s.alert(b)),
					EvalTime: at, Samples: []sample{{"{}", want}},
				}}})
			}
			test("fires", 480, 480, 2*limit, "7h", 1)
			test("stays quiet", 480, 480, limit/2, "7h", 0)
			test("ends when all is good again", 440, 520, 2*limit, "8h30m", 0)
		}
	}
	return encode(out)
}

// events are a hundred thousand a minute, of which a share is bad for so many of the
// minutes.
func (s SLO) events(bad float64, badFor, allFor int) []series {
	const rate = 100_000
	n := int(rate * bad)
	// A counter that grows by n, and later by the rest or not at all.
	grows := func(by, then int) string {
		v := fmt.Sprintf("0+%dx%d", by, badFor)
		if badFor < allFor {
			v += fmt.Sprintf(" %d+%dx%d", by*badFor+then, then, allFor-badFor)
		}
		return v
	}
	if s.Histogram != "" {
		return []series{
			{fmt.Sprintf("%s_count{%s}", s.Histogram, s.Example), grows(rate, rate)},
			{fmt.Sprintf("%s_bucket{%s}", s.Histogram, list(s.Example, fmt.Sprintf("le=%q", strconv.FormatFloat(s.Within, 'g', -1, 64)))), grows(rate-n, rate)},
		}
	}
	return []series{{s.BadSeries, grows(n, 0)}, {s.GoodSeries, grows(rate-n, rate)}}
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(header)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}
