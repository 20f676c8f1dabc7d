package render

import (
	"fmt"
	"strconv"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// A burn is one pair of windows of a multi-window alert: the long one says that
// the error budget is really being spent, the short one that it still is.
type burn struct {
	alert       string
	long, short string
	factor      float64 // times the rate at which the budget lasts exactly 30 days
	severity    string
	hold        string
}

func burns() []burn {
	return []burn{
		{"EvenkeelErrorBudgetBurnFast", "1h", "5m", 14.4, "critical", "2m"}, // 2 % of a month's budget in an hour
		{"EvenkeelErrorBudgetBurnSlow", "6h", "30m", 6, "warning", "15m"},   // 5 % in six hours
	}
}

// sloRules record each service's share of failed requests over every window and
// alert on the speed at which its error budget goes.
func sloRules(p *spec.Platform) ruleGroup {
	g := ruleGroup{Name: "evenkeel-slo", Interval: "30s"}
	for _, s := range p.Services {
		if s.SLO == nil {
			continue
		}
		for _, w := range []string{"5m", "30m", "1h", "6h"} {
			g.Rules = append(g.Rules, rule{
				Record: "service:evenkeel_failed_requests:ratio_rate" + w,
				Expr:   fmt.Sprintf("sum(rate(%s[%s])) / sum(rate(%s[%s]))", failed(p, s), w, total(p, s), w),
				Labels: map[string]string{"service": s.Name},
			})
		}
	}
	for _, b := range burns() {
		for _, s := range p.Services {
			if s.SLO == nil {
				continue
			}
			limit := strconv.FormatFloat(b.factor*(1-s.SLO.Availability), 'g', 6, 64)
			ratio := func(w string) string {
				return fmt.Sprintf("service:evenkeel_failed_requests:ratio_rate%s{service=%q} > %s", w, s.Name, limit)
			}
			g.Rules = append(g.Rules, rule{
				Alert:  b.alert,
				Expr:   ratio(b.long) + " and " + ratio(b.short),
				For:    b.hold,
				Labels: map[string]string{"severity": b.severity, "service": s.Name},
				Annotations: about(
					fmt.Sprintf("%s spends its error budget %g times too fast.", s.Name, b.factor),
					fmt.Sprintf("{{ $value | humanizePercentage }} of the requests failed over %s; %s %% were promised to succeed.", b.long, strconv.FormatFloat(100*s.SLO.Availability, 'g', 6, 64))),
				fires: sloSeries(p, s, "0+20x480"), // a fifth fails
				quiet: sloSeries(p, s, "0x480"),
				after: "7h",
			})
		}
	}
	return g
}

func sloSeries(p *spec.Platform, s spec.Service, failures string) []inputSeries {
	return []inputSeries{{failedSeries(p, s), failures}, {okSeries(p, s), "0+80x480"}}
}

const lifecycleRequests = "evenkeel_lifecycle_requests_total"

func total(p *spec.Platform, s spec.Service) string {
	if s.SLO.Total != "" {
		return s.SLO.Total
	}
	return fmt.Sprintf("%s{namespace=%q,service=%q}", lifecycleRequests, p.Cluster.Namespace, s.Name)
}

func failed(p *spec.Platform, s spec.Service) string {
	if s.SLO.Failed != "" {
		return s.SLO.Failed
	}
	return fmt.Sprintf("%s{namespace=%q,service=%q,outcome!=%q}", lifecycleRequests, p.Cluster.Namespace, s.Name, "finished")
}

func failedSeries(p *spec.Platform, s spec.Service) string {
	if s.SLO.Failed != "" {
		return s.SLO.Failed
	}
	return fmt.Sprintf("%s{namespace=%q,service=%q,outcome=%q}", lifecycleRequests, p.Cluster.Namespace, s.Name, "cut")
}

func okSeries(p *spec.Platform, s spec.Service) string {
	if s.SLO.Total != "" {
		return s.SLO.Total
	}
	return fmt.Sprintf("%s{namespace=%q,service=%q,outcome=%q}", lifecycleRequests, p.Cluster.Namespace, s.Name, "finished")
}
