package rendertest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/render"
)

// TestMetricsExist parses every expression that is rendered and looks for its
// metrics: in our catalogue, among those of other programs that render lists, or
// among the recording rules.
func TestMetricsExist(t *testing.T) {
	known := make(map[string]bool)
	for _, m := range metrics.Catalog {
		known[m.Name] = true
		if m.Type == metrics.Histogram {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				known[m.Name+suffix] = true
			}
		}
	}
	for _, name := range render.ForeignMetrics() {
		known[name] = true
	}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				known[r.Record] = true
			}
		}
	}
	all := expressions(t)
	if len(all) < 30 {
		t.Errorf("only %d expressions were found", len(all))
	}
	for where, expression := range all {
		names := metricNames(t, where, expression)
		if len(names) == 0 {
			t.Errorf("%s names no metric", where)
		}
		for _, name := range names {
			if !known[name] {
				t.Errorf("%s: nobody exports %s", where, name)
			}
		}
	}
}

// A dashboard is Grafana's JSON as far as it is rendered: decoded strictly, it
// shows a field that was never meant to be there.
type dashboard struct {
	UID           string   `json:"uid"`
	Title         string   `json:"title"`
	Description   string   `json:"description"`
	Tags          []string `json:"tags"`
	Editable      bool     `json:"editable"`
	SchemaVersion int      `json:"schemaVersion"`
	Refresh       string   `json:"refresh"`
	Timezone      string   `json:"timezone"`
	Time          struct{ From, To string }
	Templating    struct {
		List []struct{ Name, Label, Type, Query string }
	}
	Panels []struct {
		ID          int    `json:"id"`
		Type        string `json:"type"`
		Title       string `json:"title"`
		Description string `json:"description"`
		Datasource  struct{ Type, UID string }
		GridPos     struct{ H, W, X, Y int }
		FieldConfig struct {
			Defaults struct {
				Unit     string
				Min, Max *float64
			}
			Overrides []any
		}
		Options struct {
			Legend *struct {
				DisplayMode, Placement string
				ShowLegend             bool
			}
			ReduceOptions *struct{ Calcs []string }
		}
		Targets []struct{ RefID, Expr, LegendFormat string }
	} `json:"panels"`
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(rendered, "grafana", "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	out := make(map[string]dashboard)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		var d dashboard
		if err := dec.Decode(&d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out[filepath.Base(path)] = d
	}
	return out
}

// TestDashboards applies the rules by which Grafana dashboards are usually
// judged.
func TestDashboards(t *testing.T) {
	units := map[string]bool{"percentunit": true, "short": true, "s": true, "cps": true, "currencyUSD": true}
	uids := make(map[string]string)
	for name, d := range dashboards(t) {
		if other := uids[d.UID]; other != "" || d.UID == "" || len(d.UID) > 40 {
			t.Errorf("%s: uid %q is empty, long or that of %s", name, d.UID, other)
		}
		uids[d.UID] = name
		if d.Title == "" || d.Description == "" || d.Editable || len(d.Panels) == 0 {
			t.Errorf("%s: it needs a title, a description and panels, and must not be editable", name)
		}
		if l := d.Templating.List; len(l) == 0 || l[0].Type != "datasource" || l[0].Query != "prometheus" {
			t.Errorf("%s: the data source is not a variable", name)
		}
		ids := make(map[int]bool)
		taken := make(map[[2]int]string)
		for _, p := range d.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels have the id %d", name, p.ID)
			}
			ids[p.ID] = true
			if p.Title == "" || p.Description == "" || !units[p.FieldConfig.Defaults.Unit] || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s %q: it needs a title, a description, a unit and the data source variable", name, p.Title)
			}
			if p.Type != "stat" && p.Type != "timeseries" {
				t.Errorf("%s %q: type %q", name, p.Title, p.Type)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
						t.Errorf("%s %q lies on %q or outside of the grid", name, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			refs := make(map[string]bool)
			for _, target := range p.Targets {
				if refs[target.RefID] || target.LegendFormat == "" {
					t.Errorf("%s %q: target %q is repeated or has no legend", name, p.Title, target.RefID)
				}
				refs[target.RefID] = true
				if strings.Contains(target.Expr, "rate(") && !strings.Contains(target.Expr, "[$__rate_interval]") {
					t.Errorf("%s %q: a rate over a fixed interval", name, p.Title)
				}
				if regexp.MustCompile(`\w+_total\{?[^(]*$`).MatchString(target.Expr) && !regexp.MustCompile(`(rate|increase)\(`).MatchString(target.Expr) {
					t.Errorf("%s %q: a counter without rate or increase", name, p.Title)
				}
			}
			if len(p.Targets) == 0 {
				t.Errorf("%s %q asks nothing", name, p.Title)
			}
		}
	}
}

// TestCloudWatchDashboard checks the widgets' shape; the names in it are those
// that the Terraform module gives.
func TestCloudWatchDashboard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(rendered, "terraform", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Widgets []struct {
			Type                string
			X, Y, Width, Height int
			Properties          struct {
				Title, Region, View, Stat string
				Stacked                   bool
				Period                    int
				Metrics                   [][]string
			}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if len(d.Widgets) < 6 {
		t.Errorf("%d widgets, want at least 6", len(d.Widgets))
	}
	dimensions := map[string]string{"AWS/SQS": "QueueName", "AWS/Lambda": "FunctionName", "AWS/Events": "RuleName"}
	for _, w := range d.Widgets {
		if w.Type != "metric" || w.X+w.Width > 24 || w.Properties.Region == "" || w.Properties.Title == "" || len(w.Properties.Metrics) == 0 {
			t.Errorf("widget %q is incomplete", w.Properties.Title)
		}
		for _, m := range w.Properties.Metrics {
			if len(m) != 4 || dimensions[m[0]] != m[2] || !strings.HasPrefix(m[3], "market-intel-brain-") {
				t.Errorf("%s: metric %q", w.Properties.Title, m)
			}
		}
	}
}
