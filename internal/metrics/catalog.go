// Package metrics is the catalogue of every metric that Evenkeel's programs
// export: plain data, used by the code that counts, by rendered rules and
// dashboards, and by the generated documentation, so that they cannot drift.
package metrics

// Type is how a metric behaves.
type Type string

// The types.
const (
	Counter   Type = "counter"
	Gauge     Type = "gauge"
	Histogram Type = "histogram"
)

// Metric describes one metric.
type Metric struct {
	Name    string
	Help    string
	Type    Type
	Labels  []string
	Buckets []float64 // of a Histogram, in the unit that the name says
}

// seconds suit what happens within a notice of two minutes.
var seconds = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120}

// The metrics of evenkeel-controller.
var (
	Notices = Metric{
		Name: "evenkeel_notices_total", Type: Counter, Labels: []string{"cloud", "kind", "answer"},
		Help: "Interruption notices that were read, by what became of them.",
	}
	NoticeToCordon = Metric{
		Name: "evenkeel_notice_to_cordon_seconds", Type: Histogram, Buckets: seconds,
		Help: "From the time of the event to the moment when its Record was stored and the node cordoned.",
	}
	NoticeToEmpty = Metric{
		Name: "evenkeel_notice_to_empty_seconds", Type: Histogram, Buckets: seconds,
		Help: "From the time of the event to the moment when the last pod that had to move had left.",
	}
	Effects = Metric{
		Name: "evenkeel_effects_total", Type: Counter, Labels: []string{"effect", "reason", "outcome"},
		Help: "What was done to the cluster: stores, announcements, handoffs, evictions, deletions.",
	}
	StepSeconds = Metric{
		Name: "evenkeel_step_seconds", Type: Histogram, Buckets: []float64{0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1},
		Help: "How long one decision about everything took.",
	}
	InSync = Metric{
		Name: "evenkeel_cluster_synced", Type: Gauge,
		Help: "1 once everything in the cluster has been listed, 0 before.",
	}
)

// Catalog lists every metric, in the order of the documentation.
var Catalog = []Metric{Notices, NoticeToCordon, NoticeToEmpty, Effects, StepSeconds, InSync}
