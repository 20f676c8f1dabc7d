package render

import "github.com/evenkeel-dev/evenkeel/internal/metrics"

// foreignMetrics are the metrics of other programs that rules and dashboards
// name, with who exports them. Together with the catalogue of our own they are
// all that may be named; a test parses every expression and looks.
var foreignMetrics = []struct {
	metrics.Metric
	From string
}{
	{metrics.Metric{Name: "kube_poddisruptionbudget_status_current_healthy", Type: metrics.Gauge, Labels: []string{"namespace", "poddisruptionbudget"}}, "kube-state-metrics"},
	{metrics.Metric{Name: "kube_poddisruptionbudget_status_desired_healthy", Type: metrics.Gauge, Labels: []string{"namespace", "poddisruptionbudget"}}, "kube-state-metrics"},
	{metrics.Metric{Name: "kube_poddisruptionbudget_status_expected_pods", Type: metrics.Gauge, Labels: []string{"namespace", "poddisruptionbudget"}}, "kube-state-metrics"},
	{metrics.Metric{Name: "kube_poddisruptionbudget_status_pod_disruptions_allowed", Type: metrics.Gauge, Labels: []string{"namespace", "poddisruptionbudget"}}, "kube-state-metrics"},
	{metrics.Metric{Name: "kube_node_labels", Type: metrics.Gauge, Labels: []string{"node", "label_evenkeel_dev_pool", "label_karpenter_sh_capacity_type", "label_eks_amazonaws_com_capacity_type"}}, "kube-state-metrics with --metric-labels-allowlist=nodes=[*]"},
	{metrics.Metric{Name: "kube_pod_status_unschedulable", Type: metrics.Gauge, Labels: []string{"namespace", "pod"}}, "kube-state-metrics"},
	{metrics.Metric{Name: "evenkeel_lifecycle_requests_total", Type: metrics.Counter, Labels: []string{"namespace", "service", "protocol", "outcome"}}, "services that use lifecycle"},
}

// ForeignMetrics returns the names of the metrics of other programs that the
// output relies on, in the order of the documentation.
func ForeignMetrics() []string {
	out := make([]string, len(foreignMetrics))
	for i, m := range foreignMetrics {
		out[i] = m.Name
	}
	return out
}
