package render

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// The structs below are the part of Grafana's dashboard JSON (schema version 39)
// that is used.

type dashboard struct {
	UID           string     `json:"uid"`
	Title         string     `json:"title"`
	Description   string     `json:"description"`
	Tags          []string   `json:"tags"`
	Editable      bool       `json:"editable"`
	SchemaVersion int        `json:"schemaVersion"`
	Refresh       string     `json:"refresh"`
	Timezone      string     `json:"timezone"`
	Time          timeRange  `json:"time"`
	Templating    templating `json:"templating"`
	Panels        []panel    `json:"panels"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

type templating struct {
	List []variable `json:"list"`
}

type variable struct {
	Name  string `json:"name"`
	Label string `json:"label"`
	Type  string `json:"type"`
	Query string `json:"query"`
}

type panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description"`
	Datasource  datasource   `json:"datasource"`
	GridPos     gridPos      `json:"gridPos"`
	FieldConfig fieldConfig  `json:"fieldConfig"`
	Options     panelOptions `json:"options"`
	Targets     []target     `json:"targets"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type gridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []struct{}    `json:"overrides"`
}

type fieldDefaults struct {
	Unit string   `json:"unit"`
	Min  *float64 `json:"min,omitempty"`
	Max  *float64 `json:"max,omitempty"`
}

type panelOptions struct {
	Legend        *legend  `json:"legend,omitempty"`
	ReduceOptions *reduces `json:"reduceOptions,omitempty"`
}

type legend struct {
	DisplayMode string `json:"displayMode"`
	Placement   string `json:"placement"`
	ShowLegend  bool   `json:"showLegend"`
}

type reduces struct {
	Calcs []string `json:"calcs"`
}

type target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// A chart is a panel before it is laid out.
type chart struct {
	kind, title, about, unit string
	exprs                    []labelled
}

type labelled struct{ legend, expr string }

func stat(title, about, unit, expr string) chart {
	return chart{"stat", title, about, unit, []labelled{{title, expr}}}
}

func series(title, about, unit string, exprs ...labelled) chart {
	return chart{"timeseries", title, about, unit, exprs}
}

func grafanaFiles(p *spec.Platform) ([]File, error) {
	boards := []dashboard{
		board(p, "overview", "Spot overview", "How much of the platform runs on spot machines, and whether that costs anyone anything.", overviewCharts(p)),
		board(p, "interruptions", "Interruptions", "Every notice, how fast it was answered, and what was done.", interruptionCharts()),
		board(p, "budgets", "Disruption budgets", "How many pods each service can lose right now.", budgetCharts(p)),
		board(p, "costs", "Costs and savings", "What the machines cost, and what spot saves. By the controller's dated price table, not by your bill.", costCharts(p)),
	}
	if slo := sloCharts(p); len(slo) > 0 {
		boards = append(boards, board(p, "slo", "Service levels", "Failed requests against what was promised.", slo))
	}
	var out []File
	for _, b := range boards {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false) // expressions are read by people
		if err := enc.Encode(b); err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", b.UID, err)
		}
		out = append(out, File{Path: "grafana/" + b.UID + ".json", Data: buf.Bytes()})
	}
	return out, nil
}

// board lays charts out in reading order: numbers four to a row, graphs two.
func board(p *spec.Platform, id, title, about string, charts []chart) dashboard {
	d := dashboard{
		UID: "evenkeel-" + id, Title: title + " / " + p.Cluster.Name, Description: about,
		Tags: []string{"evenkeel", p.Cluster.Name}, SchemaVersion: 39, Refresh: "30s", Timezone: "browser",
		Time:       timeRange{"now-6h", "now"},
		Templating: templating{[]variable{{"datasource", "Data source", "datasource", "prometheus"}}},
	}
	x, y, rowHeight := 0, 0, 0
	for i, c := range charts {
		w, h := 12, 8
		if c.kind == "stat" {
			w, h = 6, 4
		}
		if x+w > 24 {
			x, y, rowHeight = 0, y+rowHeight, 0
		}
		ds := datasource{"prometheus", "${datasource}"}
		pn := panel{
			ID: i + 1, Type: c.kind, Title: c.title, Description: c.about, Datasource: ds, GridPos: gridPos{h, w, x, y},
			FieldConfig: fieldConfig{Defaults: fieldDefaults{Unit: c.unit, Min: new(float64)}, Overrides: []struct{}{}},
		}
		if c.unit == "percentunit" {
			pn.FieldConfig.Defaults.Max = ptr(1.0)
		}
		if c.kind == "stat" {
			pn.Options.ReduceOptions = &reduces{[]string{"lastNotNull"}}
		} else {
			pn.Options.Legend = &legend{"list", "bottom", true}
		}
		for j, e := range c.exprs {
			pn.Targets = append(pn.Targets, target{string(rune('A' + j)), e.expr, e.legend})
		}
		d.Panels = append(d.Panels, pn)
		x, rowHeight = x+w, max(rowHeight, h)
	}
	return d
}

func overviewCharts(p *spec.Platform) []chart {
	forced := fmt.Sprintf(`sum(increase(%s{effect="delete",outcome="done"}[$__range]))`, metrics.Effects.Name)
	return []chart{
		stat("Spot share", "Share of the pools' nodes that are spot machines.", "percentunit", "cluster:evenkeel_spot_nodes:ratio"),
		stat("Interruptions", "Notices of spot machines going, in the time shown.", "short", fmt.Sprintf(`sum(increase(%s{kind="spot-interruption"}[$__range]))`, metrics.Notices.Name)),
		stat("Notice to cordon, p99", "How long a new pod could still land on a machine that was going.", "s", "cluster:evenkeel_notice_to_cordon_seconds:p99_1h"),
		stat("Forced deletions", "Pods deleted past their budgets, in the time shown. Zero is the goal.", "short", forced),
		series("Nodes by pool", "Machines that are there, spot and on-demand.", "short", labelled{"{{label_evenkeel_dev_pool}}", `count by (label_evenkeel_dev_pool) (kube_node_labels{label_evenkeel_dev_pool!=""})`}),
		series("Pods without a node", "Pods that find no room.", "short", labelled{"pods", fmt.Sprintf("sum(kube_pod_status_unschedulable{namespace=%q})", p.Cluster.Namespace)}),
	}
}

func interruptionCharts() []chart {
	quantiles := func(name string) []labelled {
		var out []labelled
		for _, q := range []string{"0.5", "0.99"} {
			out = append(out, labelled{"p" + q[2:], fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(%s_bucket[$__rate_interval])))", q, name)})
		}
		return out
	}
	rate := func(by, name string) string { return fmt.Sprintf("sum by (%s) (rate(%s[$__rate_interval]))", by, name) }
	return []chart{
		series("Notices by answer", "What became of each notice.", "cps", labelled{"{{kind}} {{answer}}", rate("kind, answer", metrics.Notices.Name)}),
		series("Effects", "What was done to the cluster, and with what result.", "cps", labelled{"{{effect}} {{outcome}}", rate("effect, outcome", metrics.Effects.Name)}),
		series("Notice to cordon", "From the event's time until no new pod could land on the node.", "s", quantiles(metrics.NoticeToCordon.Name)...),
		series("Notice to empty", "From the event's time until the last pod had moved.", "s", quantiles(metrics.NoticeToEmpty.Name)...),
		series("Reasons", "Why pods were moved as they were.", "cps", labelled{"{{reason}}", rate("reason", metrics.Effects.Name)}),
		series("Time for one decision", "How long the controller thinks about everything at once.", "s", quantiles(metrics.StepSeconds.Name)...),
	}
}

func budgetCharts(p *spec.Platform) []chart {
	of := func(name string) string {
		return fmt.Sprintf("%s{namespace=%q}", name, p.Cluster.Namespace)
	}
	return []chart{
		series("Disruptions allowed", "How many pods may go now. At zero, only a handoff can move one.", "short", labelled{"{{poddisruptionbudget}}", "budget:evenkeel_disruptions_allowed:min{namespace=\"" + p.Cluster.Namespace + "\"}"}),
		series("Healthy above the promise", "Healthy pods beyond what the budget asks for.", "short", labelled{"{{poddisruptionbudget}}", of("kube_poddisruptionbudget_status_current_healthy") + " - " + of("kube_poddisruptionbudget_status_desired_healthy")}),
		series("Pods expected", "Pods that the budget counts; rises and falls with scaling.", "short", labelled{"{{poddisruptionbudget}}", of("kube_poddisruptionbudget_status_expected_pods")}),
	}
}

func sloCharts(p *spec.Platform) []chart {
	var out []chart
	for _, s := range p.Services {
		if s.SLO == nil {
			continue
		}
		out = append(out, series("Failed requests of "+s.Name, fmt.Sprintf("Share of failed requests; %.6g is the promise.", 1-s.SLO.Availability), "percentunit",
			labelled{"1 h", fmt.Sprintf("service:evenkeel_failed_requests:ratio_rate1h{service=%q}", s.Name)},
			labelled{"6 h", fmt.Sprintf("service:evenkeel_failed_requests:ratio_rate6h{service=%q}", s.Name)}))
	}
	return out
}
