package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
)

const planHelp = `Plan tries many ways to run each spot pool of the platform against histories of
spot capacity, and advises the cheapest that keeps the objective: with enough
machines ready for that share of the time at the low end of the interval in which
95 % of resampled histories lie.

It says how many machines to spare, how many to keep on demand, what that costs
and how sure it is, and what was rejected and why. Histories come as for simulate.
Exit code 1 if the objective cannot be kept by any way that was tried.`

const planExamples = `  evenkeel plan
  evenkeel plan --objective 99.99 --lead 3m
  evenkeel plan --traces $EVENKEEL_DATA/spot-availability-aws
  evenkeel plan -o json`

// NewPlanCommand returns the command "plan".
func NewPlanCommand(s Streams) *cobra.Command {
	var m market
	var output, apply string
	c := &cobra.Command{
		Use:     "plan",
		Short:   "Advise how each spot pool should be run",
		Long:    planHelp,
		Example: planExamples,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(costFormats, output) {
				return wrongUsage(c, fmt.Errorf("-o %s: want %s", output, strings.Join(costFormats, ", ")))
			}
			o, err := m.options(c, s)
			if err != nil {
				return err
			}
			cases, notes, err := m.cases(s, o)
			if err != nil {
				return err
			}
			advice, err := plan.Advise(c.Context(), cases, o)
			if err != nil {
				return failed(err)
			}
			r := planOf(advice, m.objective, notes)
			if err := writeCost(s.Out, output, r, r.table, r.csv()); err != nil {
				return failed(err)
			}
			if apply != "" {
				if err := applyPlan(s, apply, advice); err != nil {
					return err
				}
			}
			if slices.ContainsFunc(advice, func(a plan.Advice) bool { return !a.Reached }) {
				return found()
			}
			return nil
		},
	}
	m.add(c)
	c.Flags().StringVarP(&output, "output", "o", "table", "form of the output: "+strings.Join(costFormats, ", "))
	c.Flags().StringVar(&apply, "apply-to", "", "write the sizes that are advised into this platform `file`, and leave the rest of it as it is")
	return c
}

// planReport is what plan says.
type planReport struct {
	Objective float64      `json:"objectivePercent"`
	Pools     []plannedFor `json:"pools"`
	Notes     []string     `json:"notes,omitempty"`
}

type plannedFor struct {
	Pool          string          `json:"pool"`
	Machines      int             `json:"machines"`
	Headroom      int             `json:"headroom"`
	OnDemand      int             `json:"onDemand"`
	InstanceTypes []string        `json:"instanceTypes"`
	Way           string          `json:"way"`
	Reached       bool            `json:"objectiveReached"`
	MonthUSD      sim.Interval    `json:"monthUSD"`
	MonthOnDemand float64         `json:"monthAllOnDemandUSD"`
	Figures       sim.Figures     `json:"figures"`
	Rejected      []plannedNotFor `json:"rejected"`
}

type plannedNotFor struct {
	Way    string       `json:"way"`
	Why    plan.Reason  `json:"why"`
	Cost   sim.Interval `json:"cost"`
	Enough sim.Interval `json:"enough"`
}

// monthDays is a month, as bills count it: 730 hours.
const monthDays = 730.0 / 24

func planOf(advice []plan.Advice, objective float64, notes []string) *planReport {
	r := &planReport{Objective: objective, Notes: notes}
	for _, a := range advice {
		f := a.Chosen.Figures
		month := f.OnDemand / f.Days * monthDays
		p := plannedFor{
			Pool: a.Pool, Machines: a.Nodes, Headroom: a.Headroom, OnDemand: a.Floor, InstanceTypes: a.Types, Way: a.Chosen.Text, Reached: a.Reached,
			MonthUSD:      sim.Interval{Value: month * f.Cost.Value, Low: month * f.Cost.Low, High: month * f.Cost.High},
			MonthOnDemand: month, Figures: f,
		}
		for _, c := range a.Candidates[1:] {
			p.Rejected = append(p.Rejected, plannedNotFor{c.Text, c.Rejected, c.Cost, c.Enough})
		}
		r.Pools = append(r.Pools, p)
	}
	return r
}

// rejectedShown is how many rejected ways the table names; JSON has all.
const rejectedShown = 3

func (r *planReport) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "pool\tmachines\tto spare\ton demand\tUSD/month\tall on demand\tsaving %\tenough %\t95 % of histories\t")
	var cost, onDemand float64
	for _, p := range r.Pools {
		cost, onDemand = cost+p.MonthUSD.Value, onDemand+p.MonthOnDemand
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.2f (%.2f-%.2f)\t%.2f\t%.1f\t%.3f\t%.3f-%.3f\t\n", p.Pool, p.Machines, p.Headroom, p.OnDemand,
			p.MonthUSD.Value, p.MonthUSD.Low, p.MonthUSD.High, p.MonthOnDemand, 100*(1-p.Figures.Cost.Value),
			100*p.Figures.Enough.Value, 100*p.Figures.Enough.Low, 100*p.Figures.Enough.High)
	}
	fmt.Fprintf(t, "together\t\t\t\t%.2f\t%.2f\t%.1f\t\t\t\n", cost, onDemand, 100*(1-cost/onDemand))
	t.Flush()
	for _, p := range r.Pools {
		fmt.Fprintf(w, "\n%s: %s\n  of %s\n", p.Pool, p.Way, strings.Join(p.InstanceTypes, ", "))
		if !p.Reached {
			fmt.Fprintf(w, "  the objective, %v %%, is not kept by any way that was tried; this one comes nearest\n", r.Objective)
		}
		for i, c := range p.Rejected {
			if i == rejectedShown {
				fmt.Fprintf(w, "  rejected: %d more; -o json names them\n", len(p.Rejected)-i)
				break
			}
			fmt.Fprintf(w, "  rejected: %s: %s (cost %.1f %%, enough %.3f %%, from %.3f %%)\n", c.Way, c.Why, 100*c.Cost.Value, 100*c.Enough.Value, 100*c.Enough.Low)
		}
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

func (r *planReport) csv() [][]string {
	rows := [][]string{{"pool", "machines", "headroom", "on_demand", "usd_month", "usd_month_low", "usd_month_high", "usd_month_all_on_demand", "enough", "enough_low", "enough_high", "reached", "way"}}
	number := func(v float64) string { return fmt.Sprintf("%.6g", v) }
	for _, p := range r.Pools {
		rows = append(rows, []string{p.Pool, fmt.Sprint(p.Machines), fmt.Sprint(p.Headroom), fmt.Sprint(p.OnDemand),
			number(p.MonthUSD.Value), number(p.MonthUSD.Low), number(p.MonthUSD.High), number(p.MonthOnDemand),
			number(p.Figures.Enough.Value), number(p.Figures.Enough.Low), number(p.Figures.Enough.High), fmt.Sprint(p.Reached), p.Way})
	}
	return rows
}
