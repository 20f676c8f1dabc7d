package render

import "fmt"

// The structs below are promtool's format for tests of rules.

type ruleTestFile struct {
	RuleFiles          []string   `json:"rule_files"`
	EvaluationInterval string     `json:"evaluation_interval"`
	Tests              []ruleTest `json:"tests"`
}

type ruleTest struct {
	Name        string        `json:"name"`
	Interval    string        `json:"interval"`
	InputSeries []inputSeries `json:"input_series"`
	ExprTests   []exprTest    `json:"promql_expr_test"`
}

type exprTest struct {
	Expr     string   `json:"expr"`
	EvalTime string   `json:"eval_time"`
	Samples  []sample `json:"exp_samples"`
}

type sample struct {
	Labels string  `json:"labels"`
	Value  float64 `json:"value"`
}

// ruleTests returns two tests per alert: data on which it fires, and data on
// which it must not. Whether it fires is read from the ALERTS series, because
// promtool's own alert tests also compare every word of the annotations.
func ruleTests(rules ruleFile) ruleTestFile {
	out := ruleTestFile{RuleFiles: []string{"rules.yaml"}, EvaluationInterval: "1m"}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" {
				continue
			}
			name, match := r.Alert, fmt.Sprintf(`alertname=%q,alertstate="firing"`, r.Alert)
			if s := r.Labels["service"]; s != "" {
				name += " of " + s
				match += fmt.Sprintf(",service=%q", s)
			}
			test := func(name string, series []inputSeries, want float64) ruleTest {
				return ruleTest{name, "1m", series, []exprTest{{
					Expr:     fmt.Sprintf("count(ALERTS{%s}) or vector(0)", match),
					EvalTime: r.after,
					Samples:  []sample{{"{}", want}},
				}}}
			}
			out.Tests = append(out.Tests, test(name+" fires", r.fires, 1), test(name+" stays quiet", r.quiet, 0))
		}
	}
	return out
}
