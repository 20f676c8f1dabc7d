package render

import (
	"encoding/json"
	"fmt"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// cloudwatchDashboard is the body of an aws_cloudwatch_dashboard. It shows the
// way of the notices before they reach the cluster, which Prometheus cannot see.
type cloudwatchDashboard struct {
	Widgets []widget `json:"widgets"`
}

type widget struct {
	Type       string           `json:"type"`
	X          int              `json:"x"`
	Y          int              `json:"y"`
	Width      int              `json:"width"`
	Height     int              `json:"height"`
	Properties widgetProperties `json:"properties"`
}

type widgetProperties struct {
	Title   string     `json:"title"`
	Region  string     `json:"region"`
	View    string     `json:"view"`
	Stacked bool       `json:"stacked"`
	Period  int        `json:"period"` // seconds
	Stat    string     `json:"stat"`
	Metrics [][]string `json:"metrics"`
}

// Names that Terraform gives to the resources and the dashboard shows.
func queueName(p *spec.Platform) string      { return p.Cluster.Name + "-interruptions" }
func deadLetterName(p *spec.Platform) string { return p.Cluster.Name + "-interruptions-dlq" }
func handlerName(p *spec.Platform) string    { return p.Cluster.Name + "-interruption-handler" }

func dashboardFile(p *spec.Platform) (File, error) {
	sqs := func(metric, queue string) []string { return []string{"AWS/SQS", metric, "QueueName", queue} }
	lambda := func(metric string) []string { return []string{"AWS/Lambda", metric, "FunctionName", handlerName(p)} }
	var events [][]string
	for _, r := range eventRules(p) {
		events = append(events, []string{"AWS/Events", "MatchedEvents", "RuleName", ruleName(p, r)})
	}
	d := cloudwatchDashboard{}
	for i, w := range []struct {
		title, stat string
		metrics     [][]string
	}{
		{"Events by rule", "Sum", events},
		{"Queue: oldest message", "Maximum", [][]string{sqs("ApproximateAgeOfOldestMessage", queueName(p))}},
		{"Queue: messages", "Sum", [][]string{sqs("NumberOfMessagesSent", queueName(p)), sqs("NumberOfMessagesDeleted", queueName(p))}},
		{"Dead letters", "Maximum", [][]string{sqs("ApproximateNumberOfMessagesVisible", deadLetterName(p))}},
		{"Handler: calls and errors", "Sum", [][]string{lambda("Invocations"), lambda("Errors"), lambda("Throttles")}},
		{"Handler: duration", "p99", [][]string{lambda("Duration")}},
	} {
		d.Widgets = append(d.Widgets, widget{"metric", 12 * (i % 2), 6 * (i / 2), 12, 6, widgetProperties{
			Title: w.title, Region: p.Cluster.Region, View: "timeSeries", Period: 60, Stat: w.stat, Metrics: w.metrics,
		}})
	}
	data, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return File{}, fmt.Errorf("dashboard: %w", err)
	}
	return File{Path: "terraform/dashboard.json", Data: append(data, '\n')}, nil
}
