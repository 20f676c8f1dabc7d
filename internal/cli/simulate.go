package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/plan"
	"github.com/evenkeel-dev/evenkeel/internal/provision"
	"github.com/evenkeel-dev/evenkeel/internal/sim"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
)

const simulateHelp = `Simulate plays ways to buy spot machines against histories of spot capacity, and
says what each would have cost and for how much of the time enough machines were
ready, per pool of the platform.

The histories are generated: as often reclaimed as the cloud's advisor says of the
pool's instance types, with zones and regions that fail together. With --traces
they are read instead: from a CSV file (pool,tick,capacity), or from all such files
in a folder; a file pools.csv beside them says how long a tick is and what machines
cost.

Columns: cost as a share of all on demand; cost over that of somebody who knows the
future and needs no time to start machines; share of time with enough ready, with
the interval in which 95 % of resampled histories lie; the worst day; the longest
time without enough; how often a machine was reclaimed a day; pods moved.`

const simulateExamples = `  evenkeel simulate
  evenkeel simulate --strategies evenkeel,spothedge,on-demand --days 30
  evenkeel simulate --traces $EVENKEEL_DATA/spot-availability-aws -o csv
  evenkeel simulate --lead 3m --stock-out 5
  evenkeel simulate --plot frontier.svg
  evenkeel simulate --plot report.html`

// market are the flags that say what is played; simulate and plan share them.
type market struct {
	file, traces string
	prices       priceFlags
	days, seeds  int
	seed         uint64
	lead         time.Duration
	objective    float64
	stockOut     float64
}

func (m *market) add(c *cobra.Command) {
	fileFlag(c, &m.file)
	c.Flags().StringVar(&m.traces, "traces", "", "CSV `file` or folder with histories to play; default: generated ones")
	m.prices.add(c)
	c.Flags().IntVar(&m.days, "days", 90, "length of a generated history")
	c.Flags().IntVar(&m.seeds, "seeds", 3, "how many histories are generated")
	c.Flags().Uint64Var(&m.seed, "seed", 1, "first seed: the same one gives the same figures")
	c.Flags().DurationVar(&m.lead, "lead", time.Minute, "from asking for a machine until its pods are ready")
	c.Flags().Float64Var(&m.objective, "objective", 99.95, "`percent` of the time for which enough machines are to be ready")
	c.Flags().Float64Var(&m.stockOut, "stock-out", 0, "`percent` of the time in which on-demand machines are refused")
}

// check returns the options that the flags alone give.
func (m *market) check(c *cobra.Command) (plan.Options, error) {
	o := plan.Options{Days: m.days, Seeds: m.seeds, Seed: m.seed, Lead: m.lead, Objective: m.objective / 100, StockOut: m.stockOut / 100}
	switch {
	case m.days < 1 || m.days > 3660:
		return o, wrongUsage(c, fmt.Errorf("--days %d: want 1 to 3660", m.days))
	case m.seeds < 1 || m.seeds > 1000:
		return o, wrongUsage(c, fmt.Errorf("--seeds %d: want 1 to 1000", m.seeds))
	case m.lead < time.Second || m.lead > 24*time.Hour:
		return o, wrongUsage(c, fmt.Errorf("--lead %v: want 1s to 24h", m.lead))
	case !(m.objective > 0 && m.objective <= 100):
		return o, wrongUsage(c, fmt.Errorf("--objective %v: want a percentage above 0, up to 100", m.objective))
	case !(m.stockOut >= 0 && m.stockOut < 100):
		return o, wrongUsage(c, fmt.Errorf("--stock-out %v: want a percentage from 0 to below 100", m.stockOut))
	}
	if err := m.prices.check(); err != nil {
		return o, wrongUsage(c, err)
	}
	return o, nil
}

// options checks the flags and reads what they name.
func (m *market) options(c *cobra.Command, s Streams) (plan.Options, error) {
	o, err := m.check(c)
	if err != nil {
		return o, err
	}
	if m.traces != "" {
		traces, err := readTraces(m.traces)
		if err != nil {
			return o, &ExitError{ExitUsage, err}
		}
		o.Traces = traces
	}
	o.Progress = progress(s.Err)
	return o, nil
}

// cases reads the platform and the prices and makes its pools ready.
func (m *market) cases(ctx context.Context, s Streams, o *plan.Options) ([]plan.Case, []string, error) {
	p, err := readPlatform(s, m.file)
	if err != nil {
		return nil, nil, err
	}
	if o.Prices, err = m.prices.table(ctx, s, pricedOf(p)); err != nil {
		return nil, nil, failed(err)
	}
	cases, notes, err := plan.Cases(p, *o)
	if err != nil {
		return nil, nil, &ExitError{ExitUsage, err}
	}
	for _, c := range cases {
		for _, n := range c.Notes {
			notes = append(notes, "pool "+c.Pool+": "+n)
		}
	}
	return cases, notes, nil
}

// progress returns a teller of progress on a terminal, and nil elsewhere.
func progress(w io.Writer) func(done, total int) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	var last time.Time
	return func(done, total int) {
		if done < total && time.Since(last) < 100*time.Millisecond {
			return
		}
		last = time.Now()
		fmt.Fprintf(w, "\rsimulating: %d of %d runs", done, total)
		if done == total {
			fmt.Fprintln(w)
		}
	}
}

// historyHeader is the first line of a history.
const historyHeader = "pool,tick,capacity"

// readTraces reads a history, or all histories of a folder.
func readTraces(path string) ([]*trace.Trace, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files, dir := []string{path}, filepath.Dir(path)
	if info.IsDir() {
		dir = path
		if files, err = filepath.Glob(filepath.Join(path, "*.csv")); err != nil {
			return nil, err
		}
		files = slices.DeleteFunc(files, func(f string) bool { return !isHistory(f) })
		if len(files) == 0 {
			return nil, fmt.Errorf("%s: no CSV file in it begins with %s", path, historyHeader)
		}
	}
	var out []*trace.Trace
	for _, f := range files {
		t, err := readTrace(f, filepath.Join(dir, "pools.csv"))
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func isHistory(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 64)).ReadString('\n')
	return strings.TrimSpace(line) == historyHeader
}

func readTrace(path, pools string) (*trace.Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var catalog io.Reader
	switch p, err := os.Open(pools); {
	case err == nil:
		defer p.Close()
		catalog = p
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	return trace.Read(f, filepath.Base(path), catalog, trace.Defaults{})
}

// NewSimulateCommand returns the command "simulate".
func NewSimulateCommand(s Streams) *cobra.Command {
	var m market
	var output, plot string
	var names []string
	c := &cobra.Command{
		Use:     "simulate",
		Short:   "Play ways to buy spot machines against history",
		Long:    simulateHelp,
		Example: simulateExamples,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains(costFormats, output) {
				return wrongUsage(c, fmt.Errorf("-o %s: want %s", output, strings.Join(costFormats, ", ")))
			}
			strategies, err := strategiesOf(names)
			if err != nil {
				return wrongUsage(c, err)
			}
			o, err := m.options(c, s)
			if err != nil {
				return err
			}
			if plot != "" {
				if _, err := plotFormat(plot); err != nil {
					return wrongUsage(c, err)
				}
				o.Samples = plotSamples
			}
			cases, notes, err := m.cases(c.Context(), s, &o)
			if err != nil {
				return err
			}
			outcomes, err := plan.Simulate(c.Context(), cases, strategies, o)
			if err != nil {
				return failed(err)
			}
			r := simulationOf(cases, strategies, outcomes, notes)
			if plot != "" {
				if err := writePlot(plot, r, cases, outcomes, o.Objective); err != nil {
					return failed(err)
				}
			}
			return failed(writeCost(s.Out, output, r, r.table, r.csv()))
		},
	}
	m.add(c)
	c.Flags().StringVar(&plot, "plot", "", "draw to this `file`: cost against availability (.svg, .png), or a page that also shows capacity and savings (.html)")
	c.Flags().StringVarP(&output, "output", "o", "table", "form of the output: "+strings.Join(costFormats, ", "))
	c.Flags().StringSliceVar(&names, "strategies", []string{"all"}, "what to play, separated by commas; all, or of: "+strategyNames())
	return c
}

func strategyNames() string {
	var names []string
	for _, s := range provision.Strategies {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func strategiesOf(names []string) ([]provision.Strategy, error) {
	if slices.Contains(names, "all") {
		return provision.Strategies, nil
	}
	var out []provision.Strategy
	for _, n := range names {
		s, ok := provision.ByName(n)
		if !ok {
			return nil, fmt.Errorf("there is no strategy %q; there are %s", n, strategyNames())
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, errors.New("--strategies names none")
	}
	return out, nil
}

// simulation is what simulate says.
type simulation struct {
	Pools []simulatedPool `json:"pools"`
	// Together adds the money of all pools, and averages their shares of time.
	Together []sim.Figures `json:"together"`
	Notes    []string      `json:"notes,omitempty"`
}

type simulatedPool struct {
	Pool      string        `json:"pool"`
	Machines  int           `json:"machines"`
	Histories int           `json:"histories"`
	Figures   []sim.Figures `json:"strategies"`
}

func simulationOf(cases []plan.Case, strategies []provision.Strategy, outcomes []plan.Outcome, notes []string) *simulation {
	r := &simulation{Notes: notes}
	for i, c := range cases {
		p := simulatedPool{Pool: c.Pool, Machines: c.Nodes, Histories: len(c.Worlds)}
		for j := range strategies {
			p.Figures = append(p.Figures, outcomes[i*len(strategies)+j].Figures)
		}
		r.Pools = append(r.Pools, p)
	}
	for _, s := range strategies {
		r.Together = append(r.Together, plan.Together(outcomes, s.Name))
	}
	return r
}

func (r *simulation) table(w io.Writer) {
	section := func(title string, figures []sim.Figures) {
		fmt.Fprintf(w, "%s\n", title)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "strategy\tcost %\tto bound\tenough %\t95 % of histories\tworst day %\tlongest short\treclaims/day\tmoves\t")
		for _, f := range figures {
			fmt.Fprintf(t, "%s\t%.1f\t%.3f\t%.3f\t%.3f-%.3f\t%.1f\t%v\t%.4f\t%d\t\n", f.Strategy, 100*f.Cost.Value, f.Bound,
				100*f.Enough.Value, 100*f.Enough.Low, 100*f.Enough.High, 100*f.WorstDay, time.Duration(f.Longest)*time.Second, f.Reclaims, f.Moves)
		}
		t.Flush()
		fmt.Fprintln(w)
	}
	for _, p := range r.Pools {
		section(fmt.Sprintf("pool %s: %d machines, %d histories, %.0f days", p.Pool, p.Machines, p.Histories, p.Figures[0].Days), p.Figures)
	}
	if len(r.Pools) > 1 {
		section("all pools together", r.Together)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

func (r *simulation) csv() [][]string {
	rows := [][]string{{"pool", "strategy", "cost_usd", "on_demand_usd", "cost_share", "to_bound", "enough", "enough_low", "enough_high", "served", "worst_day", "longest_s", "reclaims_per_machine_day", "moves"}}
	number := func(v float64) string { return fmt.Sprintf("%.6g", v) }
	for _, p := range r.Pools {
		for _, f := range p.Figures {
			rows = append(rows, []string{p.Pool, f.Strategy, number(f.USD), number(f.OnDemand), number(f.Cost.Value), number(f.Bound),
				number(f.Enough.Value), number(f.Enough.Low), number(f.Enough.High), number(f.Served), number(f.WorstDay),
				fmt.Sprint(f.Longest), number(f.Reclaims), fmt.Sprint(f.Moves)})
		}
	}
	return rows
}
