package render

import (
	"fmt"
	"strconv"

	"github.com/evenkeel-dev/evenkeel/internal/metrics"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// hoursPerMonth is the length of a month in AWS's estimates.
const hoursPerMonth = 730

// Every replica of the controller counts all nodes, so figures are the maximum
// over replicas before they are added up.
func hourly(name string) string { return fmt.Sprintf("sum(max by (pool, capacity) (%s))", name) }

// costRules watch what the nodes cost, and whether spot still saves.
func costRules(p *spec.Platform) ruleGroup {
	series := func(name, capacity, values string) inputSeries {
		return inputSeries{fmt.Sprintf(`%s{pool="x",capacity=%q}`, name, capacity), values}
	}
	g := ruleGroup{Name: "evenkeel-costs", Interval: "1m", Rules: []rule{
		{Record: "cluster:evenkeel_cost_dollars_per_hour:sum", Expr: hourly(metrics.Cost.Name)},
		{Record: "cluster:evenkeel_saving:ratio", Expr: fmt.Sprintf("1 - %s / %s", hourly(metrics.Cost.Name), hourly(metrics.OnDemandCost.Name))},
		{
			Alert:  "EvenkeelSavingLow",
			Expr:   "cluster:evenkeel_saving:ratio < 0.25",
			For:    "6h",
			Labels: severity("info"),
			Annotations: about("Spot saves less than a quarter.",
				"All nodes together cost {{ $value | humanizePercentage }} less than on demand. Either the fallback pools carry too much, or spot prices have risen: evenkeel cost says which."),
			fires: []inputSeries{series(metrics.Cost.Name, "spot", "9x600"), series(metrics.OnDemandCost.Name, "spot", "10x600")},
			quiet: []inputSeries{series(metrics.Cost.Name, "spot", "4x600"), series(metrics.OnDemandCost.Name, "spot", "10x600")},
			after: "8h",
		},
		{
			Alert:  "EvenkeelSpotDearerThanOnDemand",
			Expr:   fmt.Sprintf(`max by (pool) (%s{capacity="spot"}) > max by (pool) (%s{capacity="spot"})`, metrics.Cost.Name, metrics.OnDemandCost.Name),
			For:    "1h",
			Labels: severity("warning"),
			Annotations: about("The spot machines of pool {{ $labels.pool }} cost more than on-demand ones.",
				"They cost {{ $value }} USD an hour. Other instance types or zones are cheaper; so is on-demand, which nobody takes away."),
			fires: []inputSeries{series(metrics.Cost.Name, "spot", "2x120"), series(metrics.OnDemandCost.Name, "spot", "1x120")},
			quiet: []inputSeries{series(metrics.Cost.Name, "spot", "1x120"), series(metrics.OnDemandCost.Name, "spot", "1x120")},
			after: "90m",
		},
		{
			Alert:  "EvenkeelNodesUnpriced",
			Expr:   fmt.Sprintf("max(%s) > 0", metrics.Unpriced.Name),
			For:    "1h",
			Labels: severity("info"),
			Annotations: about("{{ $value }} nodes have no known price.",
				"Their instance type or region is not in the controller's price table, so cost and savings are too low by them."),
			fires: []inputSeries{{metrics.Unpriced.Name, "1x120"}},
			quiet: []inputSeries{{metrics.Unpriced.Name, "0x120"}},
			after: "90m",
		},
	}}
	if budget := p.Notifications.MonthlyBudgetUSD; budget > 0 {
		limit := strconv.Itoa(budget)
		g.Rules = append(g.Rules, rule{
			Alert:  "EvenkeelCostAboveBudget",
			Expr:   fmt.Sprintf("cluster:evenkeel_cost_dollars_per_hour:sum * %d > %s", hoursPerMonth, limit),
			For:    "1h",
			Labels: severity("warning"),
			Annotations: about("The machines cost more than the budget of "+limit+" USD a month.",
				"At the present rate a month costs {{ $value | humanize }} USD."),
			fires: []inputSeries{series(metrics.Cost.Name, "spot", strconv.Itoa(budget)+"x120")},
			quiet: []inputSeries{series(metrics.Cost.Name, "spot", "0x120")},
			after: "90m",
		})
	}
	return g
}

func costCharts(p *spec.Platform) []chart {
	grown := func(name string) string { return fmt.Sprintf("max(increase(%s[$__range]))", name) }
	charts := []chart{
		stat("Saving now", "How much less than the same machines on demand.", "percentunit", "cluster:evenkeel_saving:ratio"),
		stat("Saved", "Against the same machines on demand, in the time shown.", "currencyUSD", grown(metrics.Saved.Name)),
		stat("Spent", "On machines, in the time shown.", "currencyUSD", grown(metrics.Spent.Name)),
		stat("Cost of a month", "At the present rate.", "currencyUSD", fmt.Sprintf("cluster:evenkeel_cost_dollars_per_hour:sum * %d", hoursPerMonth)),
		series("Cost an hour", "As bought, and the same machines on demand. The area between is what spot saves.", "currencyUSD",
			labelled{"as bought", "cluster:evenkeel_cost_dollars_per_hour:sum"}, labelled{"on demand", hourly(metrics.OnDemandCost.Name)}),
		series("Cost by pool", "As bought, an hour.", "currencyUSD", labelled{"{{pool}} {{capacity}}", fmt.Sprintf("max by (pool, capacity) (%s)", metrics.Cost.Name)}),
		stat("Nodes without a price", "They are in no sum.", "short", fmt.Sprintf("max(%s)", metrics.Unpriced.Name)),
		stat("Oldest price", "Age of the oldest price in use.", "s", fmt.Sprintf("time() - min(%s)", metrics.OldestPrice.Name)),
	}
	if p.Policies.Headroom {
		charts = append(charts, stat("Headroom", "What the room kept free costs an hour.", "currencyUSD", fmt.Sprintf("max(%s)", metrics.HeadroomCost.Name)))
	}
	return charts
}
