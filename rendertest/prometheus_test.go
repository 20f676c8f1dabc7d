package rendertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

func readRules(t *testing.T) *rulefmt.RuleGroups {
	t.Helper()
	return readRulesOf(t, filepath.Join(rendered, "prometheus"))
}

// readRulesOf reads the rules of a folder as Prometheus does.
func readRulesOf(t *testing.T, folder string) *rulefmt.RuleGroups {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(data, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return groups
}

// promtool's format for tests of rules, as far as it is rendered.
type ruleTest struct {
	Name        string `json:"name"`
	Interval    string `json:"interval"`
	InputSeries []struct {
		Series string `json:"series"`
		Values string `json:"values"`
	} `json:"input_series"`
	ExprTests []struct {
		Expr     string `json:"expr"`
		EvalTime string `json:"eval_time"`
		Samples  []struct {
			Value float64 `json:"value"`
		} `json:"exp_samples"`
	} `json:"promql_expr_test"`
}

// TestAlerts runs the rendered tests as promtool does: the rules are evaluated
// every minute over the given series, and ALERTS is asked what fires. Each alert
// must have a test in which it does and one in which it does not.
func TestAlerts(t *testing.T) { testAlerts(t, filepath.Join(rendered, "prometheus")) }

// testAlerts runs rules_test.yaml of a folder.
func testAlerts(t *testing.T, folder string) {
	data, err := os.ReadFile(filepath.Join(folder, "rules_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []ruleTest `json:"tests"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := make(map[string]bool), make(map[string]bool)
	for _, tt := range file.Tests {
		t.Run(tt.Name, func(t *testing.T) {
			for i, got := range evaluate(t, folder, tt) {
				want := tt.ExprTests[i].Samples[0].Value
				if got != want {
					t.Errorf("%s at %s = %v, want %v", tt.ExprTests[i].Expr, tt.ExprTests[i].EvalTime, got, want)
				}
				name := regexp.MustCompile(`alertname="(\w+)"`).FindStringSubmatch(tt.ExprTests[i].Expr)[1]
				if want > 0 {
					fires[name] = true
				} else {
					quiet[name] = true
				}
			}
		})
	}
	for _, g := range readRulesOf(t, folder).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && (!fires[r.Alert] || !quiet[r.Alert]) {
				t.Errorf("%s: tested to fire %v, to stay quiet %v; want both", r.Alert, fires[r.Alert], quiet[r.Alert])
			}
		}
	}
}

// evaluate returns the value of each expression of a test of a folder's rules.
func evaluate(t *testing.T, folder string, tt ruleTest) []float64 {
	t.Helper()
	load := "load 1m\n"
	for _, s := range tt.InputSeries {
		load += fmt.Sprintf("  %s %s\n", s.Series, s.Values)
	}
	storage, err := promqltest.NewLazyLoader(load, promqltest.LazyLoaderOpts{})
	if err != nil {
		t.Fatal(err)
	}
	defer storage.Close()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(storage.QueryEngine(), storage.Storage()),
		AppendableV2: storage.Storage(), Queryable: storage.Queryable(), Parser: parser.NewParser(parser.Options{}),
		Context:    t.Context(),
		NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Logger:     slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, filepath.Join(folder, "rules.yaml"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	names := make([]string, 0, len(groups))
	for name, g := range groups {
		names = append(names, name)
		for _, r := range g.Rules() {
			if alert, ok := r.(*rules.AlertingRule); ok {
				alert.SetRestored(true) // there is no state from before a restart to wait for
			}
		}
	}
	slices.Sort(names)

	out := make([]float64, len(tt.ExprTests))
	var latest time.Duration
	at := make([]time.Duration, len(tt.ExprTests))
	for i, e := range tt.ExprTests {
		if at[i], err = time.ParseDuration(e.EvalTime); err != nil {
			t.Fatal(err)
		}
		latest = max(latest, at[i])
	}
	for now := time.Duration(0); now <= latest; now += time.Minute {
		ts := time.Unix(0, 0).Add(now)
		storage.WithSamplesTill(ts, func(err error) {
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				groups[name].Eval(t.Context(), ts)
				for _, r := range groups[name].Rules() {
					if err := r.LastError(); err != nil {
						t.Fatalf("evaluating %s: %v", r.Name(), err)
					}
				}
			}
		})
		for i, e := range tt.ExprTests {
			if at[i] == now {
				out[i] = value(t, storage, e.Expr, ts)
			}
		}
	}
	return out
}

func value(t *testing.T, storage *promqltest.LazyLoader, expression string, ts time.Time) float64 {
	t.Helper()
	query, err := storage.QueryEngine().NewInstantQuery(t.Context(), storage.Queryable(), nil, expression, ts)
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	vector, ok := result.Value.(promql.Vector)
	if !ok || len(vector) != 1 {
		t.Fatalf("%s returned %v: %v", expression, result.Value, result.Err)
	}
	return vector[0].F
}

// TestAlertText holds every alert to what a person who is woken needs.
func TestAlertText(t *testing.T) {
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			switch {
			case r.Alert == "":
				if !regexp.MustCompile(`^\w+:\w+:\w+$`).MatchString(r.Record) {
					t.Errorf("%s is not named level:metric:operation", r.Record)
				}
			case !regexp.MustCompile(`^Evenkeel[A-Z]\w+$`).MatchString(r.Alert):
				t.Errorf("%s is not a name for an alert", r.Alert)
			default:
				for _, key := range []string{"summary", "description", "runbook_url"} {
					if r.Annotations[key] == "" {
						t.Errorf("%s has no %s", r.Alert, key)
					}
				}
				if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
					t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
				}
			}
		}
	}
}

// expressions returns every PromQL expression of rules, dashboards and scaling
// triggers, by where it stands.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	out := make(map[string]string)
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			out["rule "+g.Name+" "+r.Record+r.Alert+r.Labels["service"]] = r.Expr
		}
	}
	for name, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, target := range p.Targets {
				out[name+" "+p.Title+" "+target.RefID] = target.Expr
			}
		}
	}
	for _, o := range objects(t, "keda") {
		data, err := json.Marshal(o.Object)
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Spec struct {
				Triggers []struct{ Metadata map[string]string }
			}
		}
		if err := json.Unmarshal(data, &s); err != nil {
			t.Fatal(err)
		}
		for i, trigger := range s.Spec.Triggers {
			if q := trigger.Metadata["query"]; q != "" {
				out[fmt.Sprintf("keda %s %d", o.GetName(), i)] = q
			}
		}
	}
	return out
}

// grafanaIntervals stands for Grafana's variables, which PromQL does not know.
var grafanaIntervals = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h")

func metricNames(t *testing.T, where, expression string) []string {
	t.Helper()
	e, err := parser.NewParser(parser.Options{}).ParseExpr(grafanaIntervals.Replace(expression))
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return nil
	}
	var out []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			name := v.Name
			for _, m := range v.LabelMatchers {
				if m.Name == model.MetricNameLabel {
					name = m.Value
				}
			}
			out = append(out, name)
		}
		return nil
	})
	return out
}
