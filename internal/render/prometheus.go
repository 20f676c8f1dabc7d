package render

import (
	"fmt"
	"strconv"

	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

type ruleFile struct {
	Groups []ruleGroup `json:"groups"`
}

type ruleGroup struct {
	Name     string `json:"name"`
	Interval string `json:"interval"`
	Rules    []rule `json:"rules"`
}

// rule is a recording rule or an alert.
type rule struct {
	Record      string            `json:"record,omitempty"`
	Alert       string            `json:"alert,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`

	// fires and quiet are series with which a test makes the alert fire and stay
	// quiet; they go to the test file, not to the rules.
	fires, quiet []inputSeries
	after        string // when the alert is to have fired
}

type inputSeries struct {
	Series string `json:"series"`
	Values string `json:"values"`
}

// prometheusFiles returns the rules and, for promtool, a test of every alert
// that makes it fire and one that must leave it quiet.
func prometheusFiles(p *spec.Platform) ([]File, error) {
	rules := ruleFile{Groups: []ruleGroup{interruptionRules(p), budgetRules(p), costRules(p)}}
	if slo := sloRules(p); len(slo.Rules) > 0 {
		rules.Groups = append(rules.Groups, slo)
	}
	for _, g := range rules.Groups {
		for i, r := range g.Rules {
			if r.Alert != "" {
				g.Rules[i].Annotations["runbook_url"] = p.Observability.Runbooks + "/" + r.Alert
			}
		}
	}
	_, data, err := encodeObject(rules)
	if err != nil {
		return nil, err
	}
	_, tests, err := encodeObject(ruleTests(rules))
	if err != nil {
		return nil, err
	}
	return []File{
		{Path: "prometheus/rules.yaml", Data: append([]byte(header), data...)},
		{Path: "prometheus/rules_test.yaml", Data: append([]byte(header), tests...)},
	}, nil
}

// interruptionRules watch the interruptions and what became of them.
func interruptionRules(p *spec.Platform) ruleGroup {
	notice := strconv.FormatInt(seconds(p.Cluster.Provider.Notice()), 10)
	spotNodes := `kube_node_labels{label_karpenter_sh_capacity_type="spot"} or kube_node_labels{label_eks_amazonaws_com_capacity_type="SPOT"}`
	anyPool := `kube_node_labels{label_evenkeel_dev_pool!=""}`
	interruptions := metrics.Notices.Name + `{kind="spot-interruption"}`
	return ruleGroup{Name: "evenkeel-interruptions", Interval: "30s", Rules: []rule{
		{Record: "cluster:evenkeel_interruptions:rate1h", Expr: fmt.Sprintf("sum(rate(%s[1h]))", interruptions)},
		{Record: "cluster:evenkeel_spot_nodes:ratio", Expr: fmt.Sprintf("(count(%s) or vector(0)) / count(%s)", spotNodes, anyPool)},
		{Record: "cluster:evenkeel_notice_to_cordon_seconds:p99_1h", Expr: fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket[1h])))", metrics.NoticeToCordon.Name)},
		{Record: "cluster:evenkeel_notice_to_empty_seconds:p99_1h", Expr: fmt.Sprintf("histogram_quantile(0.99, sum by (le) (rate(%s_bucket[1h])))", metrics.NoticeToEmpty.Name)},
		{
			Alert: "EvenkeelDrainMissedDeadline",
			// Prometheus 3 writes the bound as 120.0, older ones as 120.
			Expr:   fmt.Sprintf(`sum(increase(%[1]s_count[10m])) - sum(increase(%[1]s_bucket{le=~"%[2]s(\\.0)?"}[10m])) > 0`, metrics.NoticeToEmpty.Name, notice),
			Labels: severity("critical"),
			Annotations: about("A node was not empty when its machine went.",
				"Pods were still on a node "+notice+" s after the notice. They ended without SIGTERM. Look for budgets that allow nothing and for pods with a long grace."),
			fires: []inputSeries{
				{metrics.NoticeToEmpty.Name + "_count", "0+0x10 2x30"},
				{metrics.NoticeToEmpty.Name + `_bucket{le="` + notice + `"}`, "0+0x10 1x30"},
			},
			quiet: []inputSeries{
				{metrics.NoticeToEmpty.Name + "_count", "0+0x10 2x30"},
				{metrics.NoticeToEmpty.Name + `_bucket{le="` + notice + `"}`, "0+0x10 2x30"},
			},
			after: "12m",
		},
		{
			Alert:  "EvenkeelEvictionsForced",
			Expr:   fmt.Sprintf(`sum by (reason) (increase(%s{effect="delete",outcome="done"}[15m])) > 0`, metrics.Effects.Name),
			Labels: severity("warning"),
			Annotations: about("Pods were deleted past their budgets.",
				"{{ $value | humanize }} pods were deleted at their latest start ({{ $labels.reason }}). Their services had too little room to replace them first."),
			fires: []inputSeries{{metrics.Effects.Name + `{effect="delete",reason="budget-at-latest-start",outcome="done"}`, "0x10 3x30"}},
			quiet: []inputSeries{{metrics.Effects.Name + `{effect="evict",reason="replacement-ready",outcome="done"}`, "0x10 3x30"}},
			after: "12m",
		},
		{
			Alert:  "EvenkeelCapacityLost",
			Expr:   fmt.Sprintf("sum(increase(%s[15m])) > 0", metrics.LostPodSeconds.Name),
			Labels: severity("warning"),
			Annotations: about("Services were short of pods because of interruptions.",
				"{{ $value | humanize }} ready-pod-seconds were lost in 15 minutes. 'evenkeel report interruptions --steps' says of which nodes and pods, and why."),
			fires: []inputSeries{{metrics.LostPodSeconds.Name, "0x10 30x30"}},
			quiet: []inputSeries{{metrics.LostPodSeconds.Name, "30x40"}},
			after: "12m",
		},
		{
			Alert:  "EvenkeelNoticesLate",
			Expr:   fmt.Sprintf("histogram_quantile(0.9, sum by (le) (rate(%s_bucket[10m]))) > 20", metrics.NoticeAge.Name),
			Labels: severity("warning"),
			Annotations: about("Notices are read late.",
				"One in ten is older than {{ $value | humanizeDuration }} when it is read, which is missing from the time to empty its node. Look at the queue's age, and whether a controller leads."),
			fires: []inputSeries{
				{metrics.NoticeAge.Name + `_bucket{le="20"}`, "0x40"}, {metrics.NoticeAge.Name + `_bucket{le="60"}`, "0+1x40"}, {metrics.NoticeAge.Name + `_bucket{le="+Inf"}`, "0+1x40"},
			},
			quiet: []inputSeries{
				{metrics.NoticeAge.Name + `_bucket{le="20"}`, "0+1x40"}, {metrics.NoticeAge.Name + `_bucket{le="60"}`, "0+1x40"}, {metrics.NoticeAge.Name + `_bucket{le="+Inf"}`, "0+1x40"},
			},
			after: "12m",
		},
		{
			Alert:  "EvenkeelNotificationsFailing",
			Expr:   fmt.Sprintf(`sum by (channel) (increase(%s{outcome=~"failed|dropped"}[15m])) > 0`, metrics.Notifications.Name),
			Labels: severity("warning"),
			Annotations: about("Notifications by {{ $labels.channel }} do not arrive.",
				"{{ $value | humanize }} messages were given up in 15 minutes. Drains go on; people do not hear of them this way."),
			fires: []inputSeries{{metrics.Notifications.Name + `{channel="slack",outcome="failed"}`, "0x10 2x30"}},
			quiet: []inputSeries{{metrics.Notifications.Name + `{channel="slack",outcome="sent"}`, "0x10 2x30"}},
			after: "12m",
		},
		{
			Alert:  "EvenkeelNoLeader",
			Expr:   fmt.Sprintf("sum(%[1]s) < 1 or absent(%[1]s)", metrics.Leader.Name),
			For:    "1m",
			Labels: severity("critical"),
			Annotations: about("No controller acts.",
				"Notices wait in their queue. A standby takes over within 5 s: either none runs, or none can write the Lease."),
			fires: []inputSeries{{metrics.Leader.Name, "0x30"}},
			quiet: []inputSeries{{metrics.Leader.Name, "1x30"}},
			after: "10m",
		},
		{
			Alert:  "EvenkeelInterruptionRateHigh",
			Expr:   fmt.Sprintf("sum(increase(%s[1h])) > 0.5 * count(%s)", interruptions, anyPool),
			For:    "5m",
			Labels: severity("warning"),
			Annotations: about("More than half of the nodes were taken within an hour.",
				"The instance types of the pools are short in their zones. Add types or zones, or move demand to the fallback pools."),
			fires: []inputSeries{{interruptions, "0+1x90"}, {`kube_node_labels{node="a",label_evenkeel_dev_pool="x"}`, "1x90"}, {`kube_node_labels{node="b",label_evenkeel_dev_pool="x"}`, "1x90"}},
			quiet: []inputSeries{{interruptions, "0x90"}, {`kube_node_labels{node="a",label_evenkeel_dev_pool="x"}`, "1x90"}, {`kube_node_labels{node="b",label_evenkeel_dev_pool="x"}`, "1x90"}},
			after: "60m",
		},
		{
			Alert:  "EvenkeelSpotShareLow",
			Expr:   "cluster:evenkeel_spot_nodes:ratio < 0.3",
			For:    "1h",
			Labels: severity("info"),
			Annotations: about("Less than a third of the nodes are spot machines.",
				"The share is {{ $value | humanizePercentage }}, so the savings are mostly gone. Spot machines are short, or the fallback pools do not shrink."),
			fires: []inputSeries{{`kube_node_labels{node="a",label_evenkeel_dev_pool="x",label_karpenter_sh_capacity_type="on-demand"}`, "1x120"}},
			quiet: []inputSeries{{`kube_node_labels{node="a",label_evenkeel_dev_pool="x",label_karpenter_sh_capacity_type="spot"}`, "1x120"}},
			after: "90m",
		},
		{
			Alert:  "EvenkeelNotSynced",
			Expr:   fmt.Sprintf("max(%[1]s) == 0 or absent(%[1]s)", metrics.InSync.Name),
			For:    "5m",
			Labels: severity("critical"),
			Annotations: about("No controller knows the state of the cluster.",
				"Notices are not answered. Nodes that are taken away now end as without Evenkeel."),
			fires: []inputSeries{{metrics.InSync.Name, "0x30"}},
			quiet: []inputSeries{{metrics.InSync.Name, "1x30"}},
			after: "20m",
		},
	}}
}

// budgetRules watch whether there is room to lose a pod, before one is lost.
func budgetRules(p *spec.Platform) ruleGroup {
	in := fmt.Sprintf(`{namespace=%q}`, p.Cluster.Namespace)
	of := func(metric, budget string) string {
		return fmt.Sprintf(`%s{namespace=%q,poddisruptionbudget=%q}`, metric, p.Cluster.Namespace, budget)
	}
	const (
		allowed  = "kube_poddisruptionbudget_status_pod_disruptions_allowed"
		expected = "kube_poddisruptionbudget_status_expected_pods"
		healthy  = "kube_poddisruptionbudget_status_current_healthy"
		desired  = "kube_poddisruptionbudget_status_desired_healthy"
	)
	return ruleGroup{Name: "evenkeel-budgets", Interval: "30s", Rules: []rule{
		{Record: "budget:evenkeel_disruptions_allowed:min", Expr: fmt.Sprintf("min by (namespace, poddisruptionbudget) (%s%s)", allowed, in)},
		{
			Alert:  "EvenkeelBudgetWithoutHeadroom",
			Expr:   fmt.Sprintf("%s%s == 0 and %s%s > 0", allowed, in, expected, in),
			For:    "15m",
			Labels: severity("warning"),
			Annotations: about("The budget {{ $labels.poddisruptionbudget }} lets no pod go.",
				"A reclaim now depends on replacing every pod first. Add a replica, or look why pods are not healthy."),
			fires: []inputSeries{{of(allowed, "a"), "0x60"}, {of(expected, "a"), "3x60"}},
			quiet: []inputSeries{{of(allowed, "a"), "0x60"}, {of(expected, "a"), "0x60"}, {of(allowed, "b"), "1x60"}, {of(expected, "b"), "3x60"}},
			after: "30m",
		},
		{
			Alert:  "EvenkeelBudgetViolated",
			Expr:   fmt.Sprintf("%s%s < %s%s", healthy, in, desired, in),
			For:    "2m",
			Labels: severity("critical"),
			Annotations: about("The service of {{ $labels.poddisruptionbudget }} has fewer healthy pods than promised.",
				"{{ $value }} pods are healthy, which is less than the budget asks for."),
			fires: []inputSeries{{of(healthy, "a"), "1x60"}, {of(desired, "a"), "2x60"}},
			quiet: []inputSeries{{of(healthy, "a"), "2x60"}, {of(desired, "a"), "2x60"}},
			after: "10m",
		},
		{
			Alert:  "EvenkeelPodsWithoutRoom",
			Expr:   fmt.Sprintf("sum by (namespace) (kube_pod_status_unschedulable%s) > 0", in),
			For:    "5m",
			Labels: severity("warning"),
			Annotations: about("{{ $value }} pods of {{ $labels.namespace }} find no node.",
				"Neither spot nor fallback pools have room, or a constraint cannot be met."),
			fires: []inputSeries{{fmt.Sprintf(`kube_pod_status_unschedulable{namespace=%q,pod="a"}`, p.Cluster.Namespace), "1x60"}},
			quiet: []inputSeries{{`kube_pod_status_unschedulable{namespace="other",pod="a"}`, "1x60"}},
			after: "15m",
		},
	}}
}

func severity(level string) map[string]string { return map[string]string{"severity": level} }

func about(summary, description string) map[string]string {
	return map[string]string{"summary": summary, "description": description}
}
