package rendertest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/evenkeel-dev/evenkeel/docs/runbooks"
	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/runbook"
)

// mib has the rules of the Market Intel Brain, which are made of its slo.yaml.
const mib = "../platform/mib"

// TestMibAlerts runs the tests of the rules of the reference platform's promises.
func TestMibAlerts(t *testing.T) { testAlerts(t, mib) }

func TestMibAlertText(t *testing.T) {
	for _, g := range readRulesOf(t, mib).Groups {
		for _, r := range g.Rules {
			if r.Alert != "" && (r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !strings.HasSuffix(r.Annotations["runbook_url"], "/"+r.Alert)) {
				t.Errorf("%s: %v", r.Alert, r.Annotations)
			}
		}
	}
}

// TestRunbookQueries holds the queries of runbooks to what Prometheus understands and to
// metrics that there are: our own, recorded ones, and kube-state-metrics'.
func TestRunbookQueries(t *testing.T) {
	known := make(map[string]bool)
	for _, m := range metrics.Catalog {
		known[m.Name] = true
	}
	for _, folder := range []string{rendered + "/prometheus", mib} {
		for _, g := range readRulesOf(t, folder).Groups {
			for _, r := range g.Rules {
				known[r.Record] = true
			}
		}
	}
	names, err := runbook.Names(runbooks.Pages)
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		page, err := runbook.Read(runbooks.Pages, name)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, a := range page.Actions {
			a, err := a.With(map[string]string{"namespace": "shop", "service": "cart", "node": "a"})
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if a.Kind != runbook.Query {
				continue
			}
			if _, err := parser.NewParser(parser.Options{}).ParseExpr(a.Query); err != nil {
				t.Errorf("%s/%s: %v", name, a.ID, err)
				continue
			}
			for _, m := range metricNames(t, name+"/"+a.ID, a.Query) {
				base := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(m, "")
				if !known[m] && !known[base] && !strings.HasPrefix(m, "kube_") && !strings.HasPrefix(m, "mib_") {
					t.Errorf("%s/%s: nobody has the metric %s", name, a.ID, m)
				}
			}
		}
	}
}
