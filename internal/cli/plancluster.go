package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/evenkeel-dev/evenkeel/internal/capacity"
	"github.com/evenkeel-dev/evenkeel/internal/kube"
	"github.com/evenkeel-dev/evenkeel/internal/kube/nodeapi"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/proof"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// liveFlags are those of plan --cluster.
type liveFlags struct {
	on      bool
	cluster clusterFlags
	proofs  []string
	prices  priceFlags
}

func (l *liveFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&l.on, "cluster", false, "advise on the machines of a live cluster, as they are now, instead of a file's pools")
	l.cluster.add(c)
	c.Flags().StringArrayVar(&l.proofs, "proof", nil, "proof record with recent interruptions, a `file` or - for standard input; may be given again; with --cluster")
}

// clusterOnly are the flags that mean nothing when histories are played, and
// historyOnly those that mean nothing to a live cluster.
var (
	clusterOnly = []string{"kubeconfig", "context", "proof"}
	historyOnly = []string{"traces", "days", "seeds", "seed", "stock-out", "apply-to", "candidates", "widen"}
)

// check refuses flags that contradict each other.
func (l *liveFlags) check(c *cobra.Command) error {
	wrong := clusterOnly
	if l.on {
		wrong = historyOnly
	}
	for _, name := range wrong {
		if c.Flags().Changed(name) {
			if l.on {
				return fmt.Errorf("--%s is about histories, not about --cluster", name)
			}
			return fmt.Errorf("--%s goes with --cluster", name)
		}
	}
	return nil
}

// adviseCluster says what the provisioning policy would do with a live cluster now.
// A platform file, if one is named, says what the pools may buy and how many machines
// they want.
func (l *liveFlags) adviseCluster(ctx context.Context, s Streams, c *cobra.Command, m *market, output string) error {
	var p *spec.Platform
	if c.Flags().Changed("file") {
		var err error
		if p, err = readPlatform(s, m.file); err != nil {
			return err
		}
	}
	in := capacity.Input{Now: time.Now().UTC()}
	lines, err := readProof(s, l.proofs)
	if err != nil {
		return err
	}
	in.Past = reclaims(lines)
	api, err := l.cluster.client()
	if err != nil {
		return failed(err)
	}
	machines, err := listNodes(ctx, api)
	if err != nil {
		return failed(err)
	}
	for i := range machines {
		in.Nodes = append(in.Nodes, nodeapi.Convert(&machines[i]))
	}
	if in.Groups, err = kube.NewNodePools(api).Groups(ctx); apierrors.IsForbidden(err) {
		fmt.Fprintln(s.Err, "note: NodePools may not be listed; what a pool may buy is taken from its nodes")
	} else if err != nil {
		return failed(err)
	}
	table, err := l.prices.table(ctx, s, append(pricedOf(p), pricedNodes(machines)...))
	if err != nil {
		return failed(err)
	}
	settings := capacity.Config{Prices: table, Objective: m.objective / 100, Lead: m.lead}
	if p != nil {
		settings.Notice, settings.Margin = p.Cluster.Provider.Notice(), p.Policies.Margin
		in.Groups = declared(p, in.Groups)
	}
	out := capacity.NewState(settings).Step(in)
	r := &liveReport{At: in.Now, Interruptions: len(in.Past), Pools: out.Advice, prices: table}
	for i := range r.Pools {
		r.Pools[i].Notes = slices.Clone(r.Pools[i].Notes)
		r.Buyers = append(r.Buyers, buyer(r.Pools[i].Group))
	}
	if len(r.Pools) == 0 {
		return failed(errors.New("no node of the cluster is a spot machine of a pool (label evenkeel.dev/pool), and no NodePool buys any: there is nothing to advise on"))
	}
	return failed(writeCost(s.Out, output, r, r.table, r.csv()))
}

// reclaims are the interruptions of a proof record that tell of scarce capacity.
func reclaims(lines []proof.Line) []capacity.Reclaim {
	var out []capacity.Reclaim
	for _, l := range lines {
		if l.Pool == "" || l.Outcome == proof.Cancelled || !capacity.Tells(l.Notice.Kind) {
			continue
		}
		out = append(out, capacity.Reclaim{At: l.Notice.Sent, Pool: l.Pool, InstanceType: l.InstanceType, Zone: l.Zone})
	}
	return out
}

// declared adds to groups what a platform file says of its spot pools.
func declared(p *spec.Platform, groups []capacity.Group) []capacity.Group {
	for _, pool := range p.Pools {
		if pool.Capacity != spec.Spot {
			continue
		}
		i := slices.IndexFunc(groups, func(g capacity.Group) bool { return g.Pool == pool.Name })
		if i < 0 {
			i, groups = len(groups), append(groups, capacity.Group{Pool: pool.Name, Spot: true})
		}
		g := &groups[i]
		g.Desired = pool.Desired
		if len(g.Types) == 0 {
			g.Types = pool.InstanceTypes
		}
		if len(g.Zones) == 0 {
			g.Zones = pool.Zones
		}
		if len(g.Zones) == 0 {
			g.Zones = p.Cluster.Zones
		}
	}
	return groups
}

func buyer(g capacity.Group) string {
	if g.Kind == "" {
		return ""
	}
	return fmt.Sprintf("%s %s", g.Kind, g.Name)
}

// liveReport is what plan --cluster says.
type liveReport struct {
	At            time.Time
	Interruptions int
	Pools         []capacity.Advice
	Buyers        []string
	prices        *price.Table
}

// MarshalJSON writes each pool with who buys its machines.
func (r *liveReport) MarshalJSON() ([]byte, error) {
	type poolJSON struct {
		capacity.Advice
		Buyer string `json:"boughtBy,omitempty"`
	}
	out := struct {
		At            time.Time  `json:"at"`
		Interruptions int        `json:"interruptionsRead"`
		Pools         []poolJSON `json:"pools"`
	}{At: r.At, Interruptions: r.Interruptions}
	for i, a := range r.Pools {
		out.Pools = append(out.Pools, poolJSON{a, r.Buyers[i]})
	}
	return json.Marshal(out)
}

func (r *liveReport) table(w io.Writer) {
	for i, a := range r.Pools {
		if i > 0 {
			fmt.Fprintln(w)
		}
		by := ""
		if r.Buyers[i] != "" {
			by = ", bought by " + r.Buyers[i]
		}
		fmt.Fprintf(w, "%s: %d wanted, %d ready, %d starting, %d leaving, %d on demand%s\n", a.Pool, a.Want, a.Ready, a.Starting, a.Leaving, a.OnDemand, by)
		var quotes legend
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "  INSTANCE TYPE\tZONE\tREADY\tLEAVING\tSPOT $/H\tWITH RECLAIMS $/H\tRECLAIMS A DAY\tSEEN\tNOT BEFORE\tPRICE")
		for _, q := range a.Places {
			mark, spot, score := "none", "-", "-"
			if quote, ok := r.prices.Spot(q.InstanceType, q.Region, q.Zone); ok {
				mark, spot, score = quotes.mark(quote), q.Price.String(), q.Score.String()
			}
			avoided := "-"
			if !q.Avoided.IsZero() {
				avoided = q.Avoided.UTC().Format("15:04:05Z")
			}
			fmt.Fprintf(t, "  %s\t%s\t%d\t%d\t%s\t%s\t%.3f\t%d\t%s\t%s\n", q.InstanceType, q.Zone, q.Ready, q.Leaving, spot, score, q.Hazard, q.Reclaims, avoided, mark)
		}
		t.Flush()
		for _, l := range a.Lines {
			why := ""
			if l.Reason != "" {
				why = " (" + string(l.Reason) + ")"
			}
			fmt.Fprintf(w, "  now: %s%s\n", l.Text, why)
		}
		for _, n := range a.Notes {
			fmt.Fprintln(w, "  note:", n)
		}
		quotes.write(w)
	}
}

func (r *liveReport) csv() [][]string {
	rows := [][]string{{"pool", "instance_type", "zone", "ready", "starting", "leaving", "usd_hour", "usd_hour_with_reclaims", "reclaims_a_day", "reclaims_seen", "avoided_until", "ask", "release", "move"}}
	for _, a := range r.Pools {
		for _, q := range a.Places {
			avoided := ""
			if !q.Avoided.IsZero() {
				avoided = q.Avoided.UTC().Format(time.RFC3339)
			}
			rows = append(rows, []string{a.Pool, q.InstanceType, q.Zone, fmt.Sprint(q.Ready), fmt.Sprint(q.Starting), fmt.Sprint(q.Leaving),
				q.Price.String(), q.Score.String(), fmt.Sprintf("%.6g", q.Hazard), fmt.Sprint(q.Reclaims), avoided,
				fmt.Sprint(q.Ask), fmt.Sprint(q.Release), fmt.Sprint(q.Move)})
		}
		rows = append(rows, []string{a.Pool, "on-demand", "", fmt.Sprint(a.OnDemand), "", "", "", "", "", "", "", fmt.Sprint(a.Asked), "", ""})
	}
	return rows
}
