package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/evenkeel-dev/evenkeel/internal/bill"
	"github.com/evenkeel-dev/evenkeel/internal/price"
)

const costHelp = `Cost says what the machines of a platform cost a month, per pool and per service:
as they are bought, and on demand, with the date and the source of every price.

A spot machine is counted at the mean price of its pool's instance types, since
which of them come is the cloud's choice; an on-demand one at the first type's.
Both are compared with the same machines on demand. What is no machine (control
plane, disks, load balancers, traffic) is left out: it costs the same either way.

With --claim PERCENT it holds a claimed saving against today's prices, line by
line, and says which prices make it true or false; exit code 1 if it is false of
the platform. With --cluster it counts the machines of a live cluster instead of
a file's, by the hour.

Prices are those built into the program, those that the cloud was last asked for
with --refresh, which are kept in the user's cache folder and whose age is said, and
those of a folder with --data. Of two prices for the same thing the later counts.
AWS is asked with the credentials of the environment, Google Cloud with the API key
of EVENKEEL_GCP_API_KEY, and Azure without any.`

const costExamples = `  evenkeel cost -f platform.yaml
  evenkeel cost --claim 55 --builtin
  evenkeel cost --refresh
  evenkeel cost -o csv > cost.csv
  evenkeel cost --cluster`

type costOptions struct {
	file, output string
	claim        float64
	live         bool
	cluster      clusterFlags
	prices       priceFlags
}

// NewCostCommand returns the command "cost".
func NewCostCommand(s Streams) *cobra.Command {
	var o costOptions
	c := &cobra.Command{
		Use:     "cost",
		Short:   "Say what the machines cost, and what spot saves",
		Long:    costHelp,
		Example: costExamples,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case !slices.Contains(costFormats, o.output):
				return wrongUsage(c, fmt.Errorf("-o %s: want %s", o.output, strings.Join(costFormats, ", ")))
			case o.live && c.Flags().Changed("claim"):
				return wrongUsage(c, errors.New("--claim is about a platform file, not about --cluster"))
			case !(o.claim >= 0 && o.claim < 100):
				return wrongUsage(c, errors.New("--claim wants a percentage from 0 to 100"))
			}
			if err := o.prices.check(); err != nil {
				return wrongUsage(c, err)
			}
			if o.live {
				return o.costOfCluster(c.Context(), s)
			}
			return o.costOfPlatform(c.Context(), s, c.Flags().Changed("claim"))
		},
	}
	fileFlag(c, &o.file)
	o.cluster.add(c)
	c.Flags().StringVarP(&o.output, "output", "o", "table", "form of the output: "+strings.Join(costFormats, ", "))
	c.Flags().Float64Var(&o.claim, "claim", 0, "hold a claimed saving of that many `percent` against the prices")
	c.Flags().BoolVar(&o.live, "cluster", false, "count the machines of a live cluster instead of a file's")
	o.prices.add(c)
	return c
}

var costFormats = []string{"table", "json", "yaml", "csv"}

func (o *costOptions) costOfPlatform(ctx context.Context, s Streams, claim bool) error {
	p, err := readPlatform(s, o.file)
	if err != nil {
		return err
	}
	table, err := o.prices.table(ctx, s, pricedOf(p))
	if err != nil {
		return failed(err)
	}
	b, err := bill.Of(p, table)
	if err != nil {
		return failed(err)
	}
	for _, note := range b.Notes {
		fmt.Fprintln(s.Err, "note:", note)
	}
	if claim {
		c := b.Claim(o.claim)
		if err := writeCost(s.Out, o.output, claimReport(c), func(w io.Writer) { claimTable(w, c) }, claimCSV(c)); err != nil {
			return failed(err)
		}
		if !c.Holds() {
			return found()
		}
		return nil
	}
	return failed(writeCost(s.Out, o.output, billReport(b), func(w io.Writer) { billTable(w, b) }, billCSV(b)))
}

func (o *costOptions) costOfCluster(ctx context.Context, s Streams) error {
	api, err := o.cluster.client()
	if err != nil {
		return failed(err)
	}
	machines, err := listNodes(ctx, api)
	if err != nil {
		return failed(err)
	}
	table, err := o.prices.table(ctx, s, pricedNodes(machines))
	if err != nil {
		return failed(err)
	}
	var nodes []bill.Node
	for _, n := range machines {
		nodes = append(nodes, bill.NodeOf(n.Name, n.Labels))
	}
	f := bill.OfNodes(nodes, table)
	for _, n := range f.Unpriced {
		fmt.Fprintf(s.Err, "note: node %s: no price of instance type %q in region %q\n", n.Name, n.InstanceType, n.Region)
	}
	return failed(writeCost(s.Out, o.output, fleetReport(f), func(w io.Writer) { fleetTable(w, f) }, fleetCSV(f)))
}

// writeCost writes one of the forms.
func writeCost(w io.Writer, format string, report any, table func(io.Writer), csv [][]string) error {
	switch format {
	case "json", "yaml":
		data, err := json.MarshalIndent(report, "", "  ")
		if err == nil && format == "yaml" {
			data, err = yaml.JSONToYAML(data)
		} else {
			data = append(data, '\n')
		}
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	case "csv":
		for _, row := range csv {
			if _, err := fmt.Fprintln(w, strings.Join(row, ",")); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(t)
	return t.Flush()
}

// A priceJSON is a quote in reports.
type priceJSON struct {
	PerHour price.Micros `json:"usdPerHour"`
	Date    string       `json:"date"`
	Source  string       `json:"source"`
	Note    string       `json:"note,omitempty"`
}

func quoteJSON(q price.Quote) *priceJSON {
	if q.PerHour == 0 {
		return nil
	}
	return &priceJSON{q.PerHour, q.Date.Format(time.DateOnly), q.Source, q.Note}
}

type sumJSON struct {
	Cost     json.Number `json:"usd"`
	OnDemand json.Number `json:"usdOnDemand"`
	Saving   json.Number `json:"savingPercent"`
}

func sumOf(s bill.Sum) sumJSON {
	return sumJSON{json.Number(s.Cost.Cents()), json.Number(s.OnDemand.Cents()), json.Number(percent(s.Saving()))}
}

func percent(v float64) string { return fmt.Sprintf("%.1f", v) }

type typeJSON struct {
	Name     string      `json:"instanceType"`
	Pool     string      `json:"pool,omitempty"`
	OnDemand *priceJSON  `json:"onDemand"`
	Spot     *priceJSON  `json:"spot,omitempty"`
	Saving   json.Number `json:"savingPercent,omitempty"`
	Holds    *bool       `json:"claimHolds,omitempty"`
}

func typeOf(t bill.Type) typeJSON {
	out := typeJSON{Name: t.Name, OnDemand: quoteJSON(t.OnDemand), Spot: quoteJSON(t.Spot)}
	if out.Spot != nil {
		out.Saving = json.Number(percent(t.Saving()))
	}
	return out
}

func billReport(b *bill.Bill) any {
	type poolJSON struct {
		Name     string         `json:"name"`
		Capacity price.Capacity `json:"capacity"`
		Nodes    int            `json:"nodes"`
		Used     json.Number    `json:"usedPercent"`
		sumJSON
		Types []typeJSON `json:"types"`
	}
	type serviceJSON struct {
		Name     string `json:"name"`
		Pool     string `json:"pool"`
		Replicas int    `json:"replicas"`
		sumJSON
	}
	var out struct {
		Month    string        `json:"month"`
		Pools    []poolJSON    `json:"pools"`
		Services []serviceJSON `json:"services"`
		Total    sumJSON       `json:"total"`
		Notes    []string      `json:"notes,omitempty"`
	}
	out.Month = fmt.Sprintf("%d hours", bill.HoursPerMonth)
	for _, p := range b.Pools {
		line := poolJSON{Name: p.Name, Capacity: p.Capacity, Nodes: p.Nodes, Used: json.Number(percent(100 * p.Used)), sumJSON: sumOf(p.Sum)}
		for _, t := range p.Types {
			line.Types = append(line.Types, typeOf(t))
		}
		out.Pools = append(out.Pools, line)
	}
	for _, s := range b.Services {
		out.Services = append(out.Services, serviceJSON{s.Name, s.Pool, s.Replicas, sumOf(s.Sum)})
	}
	out.Total, out.Notes = sumOf(b.Total), b.Notes
	return out
}

func billTable(w io.Writer, b *bill.Bill) {
	fmt.Fprintln(w, "POOL\tCAPACITY\tNODES\tUSED\tON-DEMAND $/MONTH\tAS BOUGHT $/MONTH\tSAVING")
	for _, p := range b.Pools {
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f%%\t%s\t%s\t%s\n", p.Name, p.Capacity, p.Nodes, 100*p.Used, p.Sum.OnDemand.Cents(), p.Cost.Cents(), saving(p.Sum))
	}
	fmt.Fprintf(w, "all\t\t\t\t%s\t%s\t%s\n", b.Total.OnDemand.Cents(), b.Total.Cost.Cents(), saving(b.Total))
	fmt.Fprintln(w, "\nSERVICE\tPOOL\tREPLICAS\tON-DEMAND $/MONTH\tAS BOUGHT $/MONTH\tSAVING")
	for _, s := range b.Services {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", s.Name, s.Pool, s.Replicas, s.OnDemand.Cents(), s.Cost.Cents(), saving(s.Sum))
	}
	var quotes legend
	fmt.Fprintln(w, "\nPOOL\tINSTANCE TYPE\tON-DEMAND $/H\tSPOT $/H\tSAVING\tPRICES")
	for _, p := range b.Pools {
		for i, t := range p.Types {
			if p.Capacity == price.OnDemand {
				if i == 0 {
					fmt.Fprintf(w, "%s\t%s\t%s\t\t\t%s\n", p.Name, t.Name, t.OnDemand.PerHour, quotes.mark(t.OnDemand))
				}
				continue
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s%%\t%s\n", p.Name, t.Name, t.OnDemand.PerHour, t.Spot.PerHour, percent(t.Saving()), quotes.marks(t))
		}
	}
	quotes.write(w)
}

func saving(s bill.Sum) string {
	if s.Cost == s.OnDemand {
		return "-"
	}
	return percent(s.Saving()) + "%"
}

// A legend numbers where prices come from, so that tables stay narrow.
type legend struct{ entries []string }

func (l *legend) mark(q price.Quote) string {
	entry := fmt.Sprintf("%s, %s", q.Date.Format(time.DateOnly), q.Source)
	if q.Note != "" && !strings.HasPrefix(q.Note, "unchanged") {
		note := q.Note
		if before, _, ok := strings.Cut(note, " the advisor's"); ok { // the percentage stands in the table
			note = before + " the advisor's saving"
		}
		entry += ": " + note
	}
	i := slices.Index(l.entries, entry)
	if i < 0 {
		i = len(l.entries)
		l.entries = append(l.entries, entry)
	}
	return fmt.Sprintf("[%d]", i+1)
}

func (l *legend) marks(t bill.Type) string { return l.mark(t.OnDemand) + " " + l.mark(t.Spot) }

func (l *legend) write(w io.Writer) {
	fmt.Fprintln(w)
	for i, e := range l.entries {
		fmt.Fprintf(w, "[%d] %s\n", i+1, e)
	}
}

func billCSV(b *bill.Bill) [][]string {
	out := [][]string{{"kind", "name", "pool", "capacity", "count", "usd_month_on_demand", "usd_month", "saving_percent"}}
	row := func(kind, name, pool, capacity, count string, s bill.Sum) {
		out = append(out, []string{kind, name, pool, capacity, count, s.OnDemand.Cents(), s.Cost.Cents(), percent(s.Saving())})
	}
	for _, p := range b.Pools {
		row("pool", p.Name, p.Name, string(p.Capacity), fmt.Sprint(p.Nodes), p.Sum)
	}
	for _, s := range b.Services {
		row("service", s.Name, s.Pool, "", fmt.Sprint(s.Replicas), s.Sum)
	}
	row("total", "", "", "", "", b.Total)
	return out
}

func claimReport(c bill.Claim) any {
	var out struct {
		Claim   json.Number `json:"claimPercent"`
		Holds   bool        `json:"holds"`
		OfSpot  bool        `json:"holdsOfSpotPools"`
		Lines   []typeJSON  `json:"lines"`
		Spot    sumJSON     `json:"spotPools"`
		Fixed   sumJSON     `json:"onDemandPools"`
		Total   sumJSON     `json:"total"`
		Needed  json.Number `json:"spotSavingNeededPercent"`
		PerWhat string      `json:"sumsAre"`
	}
	out.Claim, out.Holds, out.OfSpot = json.Number(percent(c.Percent)), c.Holds(), c.SpotHolds()
	for _, l := range c.Lines {
		t := typeOf(l.Type)
		t.Pool, t.Holds = l.Pool, &l.Holds
		out.Lines = append(out.Lines, t)
	}
	out.Spot, out.Fixed, out.Total = sumOf(c.Spot), sumOf(c.Fixed), sumOf(c.Total)
	out.Needed, out.PerWhat = json.Number(percent(c.SpotNeeded())), "USD a month"
	return out
}

func claimTable(w io.Writer, c bill.Claim) {
	var quotes legend
	fmt.Fprintf(w, "CLAIM: spot saves %s%%\n\n", percent(c.Percent))
	fmt.Fprintln(w, "POOL\tINSTANCE TYPE\tON-DEMAND $/H\tSPOT $/H\tSAVING\tCLAIM\tPRICES")
	holds := 0
	for _, l := range c.Lines {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s%%\t%s\t%s\n", l.Pool, l.Name, l.OnDemand.PerHour, l.Spot.PerHour, percent(l.Saving()), verdict(l.Holds), quotes.marks(l.Type))
		if l.Holds {
			holds++
		}
	}
	fmt.Fprintln(w, "\nOF A MONTH\tON-DEMAND $\tAS BOUGHT $\tSAVING\tCLAIM")
	line := func(what string, s bill.Sum, ok string) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", what, s.OnDemand.Cents(), s.Cost.Cents(), saving(s), ok)
	}
	line("spot pools", c.Spot, verdict(c.SpotHolds()))
	line("on-demand pools", c.Fixed, "")
	line("all machines", c.Total, verdict(c.Holds()))
	fmt.Fprintf(w, "\n%d of %d prices make it true, %d make it false.\n", holds, len(c.Lines), len(c.Lines)-holds)
	if !c.Holds() && c.Total.OnDemand > 0 {
		fmt.Fprintf(w, "On-demand pools are %s%% of the machines' price and save nothing: for %s%% of the whole, spot machines would have to save %s%%; they save %s%%.\n",
			percent(100*float64(c.Fixed.OnDemand)/float64(c.Total.OnDemand)), percent(c.Percent), percent(c.SpotNeeded()), percent(c.Spot.Saving()))
	}
	quotes.write(w)
}

func verdict(holds bool) string {
	if holds {
		return "true"
	}
	return "false"
}

func claimCSV(c bill.Claim) [][]string {
	out := [][]string{{"pool", "instance_type", "usd_hour_on_demand", "date_on_demand", "usd_hour_spot", "date_spot", "saving_percent", "claim_holds"}}
	for _, l := range c.Lines {
		out = append(out, []string{l.Pool, l.Name, l.OnDemand.PerHour.String(), l.OnDemand.Date.Format(time.DateOnly),
			l.Spot.PerHour.String(), l.Spot.Date.Format(time.DateOnly), percent(l.Saving()), fmt.Sprint(l.Holds)})
	}
	return out
}

func fleetReport(f bill.Fleet) any {
	type groupJSON struct {
		Pool     string         `json:"pool"`
		Type     string         `json:"instanceType"`
		Zone     string         `json:"zone"`
		Capacity price.Capacity `json:"capacity"`
		Nodes    int            `json:"nodes"`
		sumJSON
		Paid       *priceJSON `json:"paid"`
		OnDemandOf *priceJSON `json:"onDemand"`
	}
	var out struct {
		Groups   []groupJSON `json:"groups"`
		Total    sumJSON     `json:"total"`
		Unpriced []string    `json:"unpriced,omitempty"`
		PerWhat  string      `json:"sumsAre"`
	}
	hourly := func(s bill.Sum) sumJSON {
		return sumJSON{json.Number(s.Cost.String()), json.Number(s.OnDemand.String()), json.Number(percent(s.Saving()))}
	}
	for _, g := range f.Groups {
		out.Groups = append(out.Groups, groupJSON{g.Pool, g.InstanceType, g.Zone, g.Capacity, g.Nodes, hourly(g.Sum), quoteJSON(g.Paid), quoteJSON(g.OnDemand)})
	}
	for _, n := range f.Unpriced {
		out.Unpriced = append(out.Unpriced, n.Name)
	}
	out.Total, out.PerWhat = hourly(f.Total), "USD an hour"
	return out
}

func fleetTable(w io.Writer, f bill.Fleet) {
	var quotes legend
	fmt.Fprintln(w, "POOL\tINSTANCE TYPE\tZONE\tCAPACITY\tNODES\tON-DEMAND $/H\tAS BOUGHT $/H\tSAVING\tPRICES")
	for _, g := range f.Groups {
		marks := quotes.mark(g.OnDemand)
		if g.Capacity == price.Spot {
			marks += " " + quotes.mark(g.Paid)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", g.Pool, g.InstanceType, g.Zone, g.Capacity, g.Nodes, g.Sum.OnDemand, g.Cost, saving(g.Sum), marks)
	}
	fmt.Fprintf(w, "all\t\t\t\t\t%s\t%s\t%s\n", f.Total.OnDemand, f.Total.Cost, saving(f.Total))
	quotes.write(w)
}

func fleetCSV(f bill.Fleet) [][]string {
	out := [][]string{{"pool", "instance_type", "zone", "capacity", "nodes", "usd_hour_on_demand", "usd_hour", "saving_percent", "price_date", "price_source"}}
	for _, g := range f.Groups {
		out = append(out, []string{g.Pool, g.InstanceType, g.Zone, string(g.Capacity), fmt.Sprint(g.Nodes), g.Sum.OnDemand.String(), g.Cost.String(),
			percent(g.Saving()), g.Paid.Date.Format(time.DateOnly), g.Paid.Source})
	}
	return out
}
