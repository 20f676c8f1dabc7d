package cli

import (
	"errors"
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
95 % of resampled histories lie. It chooses on the first half of the days of each
history; all figures are those of the second half, which had no part in the choice.

It says of which instance types, how many machines to spare and how many to keep on
demand, how many replicas that asks for, what it costs and how sure that is, and
what was rejected and why. With --widen it also tries types that a pool does not
name: of its architecture, and as large. "All on demand" is what cost says, too.
Histories come as for simulate.
Exit code 1 if the objective cannot be kept by any way that was tried.

With --cluster it reads the nodes of a live cluster instead, with Karpenter's
NodePools where there are any, the interruptions under way and those of a proof
record, and says what the same policy would do now and why. It changes nothing;
evenkeel-controller --capacity=act does. Nodes belong to the pool that their label
evenkeel.dev/pool names. With -f the file says what its pools may buy and how many
machines they want.`

const planExamples = `  evenkeel plan
  evenkeel plan --objective 99.99 --lead 3m
  evenkeel plan --traces $EVENKEEL_DATA/spot-availability-aws
  evenkeel plan --widen --data $EVENKEEL_DATA
  evenkeel plan --candidates 1000 -o json
  evenkeel plan --cluster --proof interruptions.jsonl
  evenkeel plan --cluster -f platform.yaml --refresh`

// NewPlanCommand returns the command "plan".
func NewPlanCommand(s Streams) *cobra.Command {
	var m market
	var live liveFlags
	var output, apply string
	var candidates int
	var widen bool
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
			if err := live.check(c); err != nil {
				return wrongUsage(c, err)
			}
			if live.on {
				if _, err := m.check(c); err != nil {
					return err
				}
				live.prices = m.prices
				return live.adviseCluster(c.Context(), s, c, &m, output)
			}
			o, err := m.options(c, s)
			if err != nil {
				return err
			}
			if o.Candidates, o.Widen = candidates, widen; candidates < 1 || candidates > plan.MostCandidates {
				return wrongUsage(c, fmt.Errorf("--candidates %d: want 1 to %d", candidates, plan.MostCandidates))
			}
			if widen && len(o.Traces) > 0 {
				return wrongUsage(c, errors.New("--widen goes without --traces: histories say of which types they are"))
			}
			cases, notes, err := m.cases(c.Context(), s, &o)
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
	live.add(c)
	c.Flags().StringVarP(&output, "output", "o", "table", "form of the output: "+strings.Join(costFormats, ", "))
	c.Flags().StringVar(&apply, "apply-to", "", "write the sizes, instance types and replicas that are advised into this platform `file`, and leave the rest of it as it is")
	c.Flags().IntVar(&candidates, "candidates", 27, fmt.Sprintf("how many ways to run each pool are tried, up to %d", plan.MostCandidates))
	c.Flags().BoolVar(&widen, "widen", false, "also try instance types that a pool does not name and that are as large")
	return c
}

// planReport is what plan says.
type planReport struct {
	Objective float64      `json:"objectivePercent"`
	Pools     []plannedFor `json:"pools"`
	Notes     []string     `json:"notes,omitempty"`
}

type plannedFor struct {
	Pool          string            `json:"pool"`
	Machines      int               `json:"machines"`
	Headroom      int               `json:"headroom"`
	OnDemand      int               `json:"onDemand"`
	InstanceTypes []plannedType     `json:"instanceTypes"`
	Services      []plannedReplicas `json:"services"`
	Way           string            `json:"way"`
	Reached       bool              `json:"objectiveReached"`
	MonthUSD      sim.Interval      `json:"monthUSD"`
	MonthOnDemand float64           `json:"monthAllOnDemandUSD"` // as cost says
	Saving        sim.Interval      `json:"savingPercent"`       // of that
	Figures       sim.Figures       `json:"figures"`             // of the days that the choice was not made on
	ChosenOn      sim.Figures       `json:"chosenOn"`            // of those that it was made on
	Rejected      []plannedNotFor   `json:"rejected"`
}

type plannedType struct {
	Type    string  `json:"type"`
	Named   bool    `json:"named"` // by the platform file
	Use     float64 `json:"use"`   // share of the spot machines' time
	Advised bool    `json:"advised"`
	Why     string  `json:"why,omitempty"` // it is not
}

type plannedReplicas struct {
	Service  string `json:"service"`
	Declared int    `json:"declared"`
	Replicas int    `json:"replicas"`
}

type plannedNotFor struct {
	Way    string       `json:"way"`
	Why    plan.Reason  `json:"why"`
	Month  sim.Interval `json:"monthUSD"`
	Enough sim.Interval `json:"enough"`
}

// monthDays is a month, as bills count it: 730 hours.
const monthDays = 730.0 / 24

// monthOf is what a month costs by some figures.
func monthOf(f sim.Figures) sim.Interval {
	m := f.OnDemand / f.Days * monthDays
	return sim.Interval{Value: m * f.Cost.Value, Low: m * f.Cost.Low, High: m * f.Cost.High}
}

func planOf(advice []plan.Advice, objective float64, notes []string) *planReport {
	r := &planReport{Objective: objective, Notes: notes}
	for _, a := range advice {
		f := a.Chosen.Figures
		month, all := monthOf(f), a.AllOnDemand.USD()
		saving := func(v float64) float64 { return 100 * (1 - v/all) }
		p := plannedFor{
			Pool: a.Pool, Machines: a.Nodes, Headroom: a.Headroom, OnDemand: a.Floor, Way: a.Chosen.Text, Reached: a.Reached,
			MonthUSD: month, MonthOnDemand: all, Saving: sim.Interval{Value: saving(month.Value), Low: saving(month.High), High: saving(month.Low)},
			Figures: f, ChosenOn: a.Chosen.ChosenOn,
		}
		for _, t := range a.Types {
			p.InstanceTypes = append(p.InstanceTypes, plannedType{t.Type, t.Named, t.Use, t.Why == "", t.Why})
		}
		for _, s := range a.Services {
			p.Services = append(p.Services, plannedReplicas{s.Service, s.Declared, s.Replicas})
		}
		for _, c := range a.Candidates[1:] {
			p.Rejected = append(p.Rejected, plannedNotFor{c.Text, c.Rejected, monthOf(c.ChosenOn), c.ChosenOn.Enough})
		}
		r.Pools = append(r.Pools, p)
	}
	return r
}

func (r *planReport) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "pool\tmachines\tto spare\ton demand\tUSD/month\tall on demand\tsaving %\tenough %\t95 % of histories\t")
	var cost, onDemand float64
	for _, p := range r.Pools {
		cost, onDemand = cost+p.MonthUSD.Value, onDemand+p.MonthOnDemand
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%.2f (%.2f-%.2f)\t%.2f\t%.1f\t%.3f\t%.3f-%.3f\t\n", p.Pool, p.Machines, p.Headroom, p.OnDemand,
			p.MonthUSD.Value, p.MonthUSD.Low, p.MonthUSD.High, p.MonthOnDemand, p.Saving.Value,
			100*p.Figures.Enough.Value, 100*p.Figures.Enough.Low, 100*p.Figures.Enough.High)
	}
	fmt.Fprintf(t, "together\t\t\t\t%.2f\t%.2f\t%.1f\t\t\t\n", cost, onDemand, 100*(1-cost/onDemand))
	t.Flush()
	for _, p := range r.Pools {
		fmt.Fprintf(w, "\n%s: %s\n  of %s\n", p.Pool, p.Way, p.types())
		for _, t := range p.InstanceTypes {
			if !t.Advised && (t.Named || t.Use > 0) {
				fmt.Fprintf(w, "  without %s: %s\n", t.Type, t.Why)
			}
		}
		for _, s := range p.Services {
			if s.Replicas != s.Declared {
				fmt.Fprintf(w, "  %s: %d replicas instead of %d, so that enough are left when the spare machines' worth is lost\n", s.Service, s.Replicas, s.Declared)
			}
		}
		switch {
		case p.Reached:
		case p.ChosenOn.Enough.Low >= r.Objective/100:
			fmt.Fprintf(w, "  the objective, %v %%, was kept on the days that this was chosen on (from %.3f %%), not on the others\n", r.Objective, 100*p.ChosenOn.Enough.Low)
		default:
			fmt.Fprintf(w, "  the objective, %v %%, is not kept by any way that was tried; this one comes nearest\n", r.Objective)
		}
		for i, c := range p.Rejected {
			same := func(o plannedNotFor) bool { return o.Why == c.Why }
			if slices.ContainsFunc(p.Rejected[:i], same) {
				continue // one of each reason; JSON has all
			}
			more := 0
			for _, o := range p.Rejected[i+1:] {
				if same(o) {
					more++
				}
			}
			fmt.Fprintf(w, "  rejected: %s: %s (%.2f USD/month, %.2f-%.2f; enough %.3f %%, from %.3f %%)", c.Way, c.Why,
				c.Month.Value, c.Month.Low, c.Month.High, 100*c.Enough.Value, 100*c.Enough.Low)
			if more > 0 {
				fmt.Fprintf(w, ", and %d more for the same reason", more)
			}
			fmt.Fprintln(w)
		}
	}
	if len(r.Notes) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// types names what is advised, and how much of the time each was used.
func (p *plannedFor) types() string {
	var out []string
	for _, t := range p.InstanceTypes {
		switch {
		case !t.Advised:
		case t.Named:
			out = append(out, fmt.Sprintf("%s (%.0f %%)", t.Type, 100*t.Use))
		default:
			out = append(out, fmt.Sprintf("%s (new, %.0f %%)", t.Type, 100*t.Use))
		}
	}
	return strings.Join(out, ", ")
}

func (r *planReport) csv() [][]string {
	rows := [][]string{{"pool", "machines", "headroom", "on_demand", "usd_month", "usd_month_low", "usd_month_high", "usd_month_all_on_demand", "enough", "enough_low", "enough_high", "reached", "way", "instance_types"}}
	number := func(v float64) string { return fmt.Sprintf("%.6g", v) }
	for _, p := range r.Pools {
		rows = append(rows, []string{p.Pool, fmt.Sprint(p.Machines), fmt.Sprint(p.Headroom), fmt.Sprint(p.OnDemand),
			number(p.MonthUSD.Value), number(p.MonthUSD.Low), number(p.MonthUSD.High), number(p.MonthOnDemand),
			number(p.Figures.Enough.Value), number(p.Figures.Enough.Low), number(p.Figures.Enough.High), fmt.Sprint(p.Reached), p.Way, p.advised()})
	}
	return rows
}

// advised names the types, separated by blanks.
func (p *plannedFor) advised() string {
	var out []string
	for _, t := range p.InstanceTypes {
		if t.Advised {
			out = append(out, t.Type)
		}
	}
	return strings.Join(out, " ")
}
