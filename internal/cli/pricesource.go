package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/evenkeel-dev/evenkeel/internal/awsprice"
	"github.com/evenkeel-dev/evenkeel/internal/azureprice"
	"github.com/evenkeel-dev/evenkeel/internal/gcpprice"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// priceFlags say where prices come from. Every command that counts money has
// them: what is built in, then what the clouds were last asked for, then a folder's;
// of two prices for the same thing the later one counts.
type priceFlags struct {
	data    string
	refresh bool
	builtin bool
}

func (f *priceFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.data, "data", "", "`folder` with price files, such as that of EVENKEEL_DATA")
	c.Flags().BoolVar(&f.refresh, "refresh", false, "ask the cloud for today's prices of the instance types in question, and keep them for later runs")
	c.Flags().BoolVar(&f.builtin, "builtin", false, "use only the prices that are built in")
}

// check refuses flags that contradict each other.
func (f *priceFlags) check() error {
	if f.builtin && (f.refresh || f.data != "") {
		return errors.New("--builtin goes with neither --refresh nor --data")
	}
	return nil
}

// priced is what prices are asked for: instance types of one cloud in one region.
type priced struct {
	cloud  string // aws, gcp or azure
	region string
	types  []string
}

// pricedOf is what a platform buys; nothing of nil.
func pricedOf(p *spec.Platform) []priced {
	if p == nil {
		return nil
	}
	q := priced{cloud: string(p.Cluster.Provider), region: p.Cluster.Region}
	for _, pool := range p.Pools {
		q.types = append(q.types, pool.InstanceTypes...)
	}
	slices.Sort(q.types)
	q.types = slices.Compact(q.types)
	return []priced{q}
}

// pricedNodes is what the nodes of a cluster are. Whose they are stands in their
// provider's ID.
func pricedNodes(nodes []corev1.Node) []priced {
	var out []priced
	for i := range nodes {
		m := price.MachineOf(nodes[i].Labels)
		cloud := ""
		for prefix, name := range map[string]string{"aws:": "aws", "gce:": "gcp", "azure:": "azure"} {
			if strings.HasPrefix(nodes[i].Spec.ProviderID, prefix) {
				cloud = name
			}
		}
		if cloud == "" || m.Region == "" || m.InstanceType == "" {
			continue
		}
		j := slices.IndexFunc(out, func(q priced) bool { return q.cloud == cloud && q.region == m.Region })
		if j < 0 {
			j, out = len(out), append(out, priced{cloud: cloud, region: m.Region})
		}
		if !slices.Contains(out[j].types, m.InstanceType) {
			out[j].types = append(out[j].types, m.InstanceType)
		}
	}
	for i := range out {
		slices.Sort(out[i].types)
	}
	return out
}

// table returns the prices to count with. What says what to ask the clouds for.
func (f *priceFlags) table(ctx context.Context, s Streams, what []priced) (*price.Table, error) {
	t := price.Builtin()
	if f.builtin {
		return t, nil
	}
	if f.refresh {
		if err := refresh(ctx, s, what); err != nil {
			return nil, err
		}
	}
	if err := addCached(s, t); err != nil {
		return nil, err
	}
	if f.data != "" {
		data, err := price.ReadData(os.DirFS(f.data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.data, err)
		}
		t.Merge(data)
	}
	return t, nil
}

// cacheDir is where prices are kept that clouds were asked for.
func cacheDir() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "evenkeel", "prices"), err
}

// addCached adds the prices that were kept, and says how old they are.
func addCached(s Streams, t *price.Table) error {
	dir, err := cacheDir()
	if err != nil {
		return nil // no home, nothing kept
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept, err := price.ReadFiles(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("%s: %w; remove the folder, or ask again with --refresh", dir, err)
	}
	t.Merge(kept)
	if newest := kept.Newest(); !newest.IsZero() {
		fmt.Fprintf(s.Err, "prices in %s are %s old\n", dir, age(time.Since(newest)))
	}
	return nil
}

// age rounds to what a person would say.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// refresh asks the clouds and keeps the answers, beside what was kept of other types.
func refresh(ctx context.Context, s Streams, what []priced) error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	fresh, asked := new(price.Table), false
	for _, q := range what {
		if len(q.types) == 0 {
			continue
		}
		asked = true
		t, err := ask(ctx, s, q)
		if err != nil {
			return err
		}
		fresh.Merge(t)
	}
	if !asked {
		return errors.New("--refresh finds no instance types to ask for: neither pools that name some nor nodes of a cloud that is known")
	}
	all := new(price.Table)
	if kept, err := price.ReadFiles(os.DirFS(dir)); err == nil {
		all = kept // what cannot be read is replaced
	}
	all.Merge(fresh)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, file := range price.WriteFiles(all) {
		// Renamed into place, so that another run never reads half of it.
		half := filepath.Join(dir, file.Name+".new")
		if err := os.WriteFile(half, []byte(file.Text), 0o644); err != nil {
			return err
		}
		if err := os.Rename(half, filepath.Join(dir, file.Name)); err != nil {
			return err
		}
	}
	return nil
}

// ask asks one cloud.
func ask(ctx context.Context, s Streams, q priced) (*price.Table, error) {
	switch q.cloud {
	case "azure":
		return azureprice.New().Prices(ctx, q.region, q.types)
	case "gcp":
		client, err := gcpprice.New()
		if err != nil {
			return nil, err
		}
		// Google prices cores and memory; how much of them a type has is built in.
		var machines []price.Instance
		known := price.Builtin()
		for _, name := range q.types {
			i, ok := known.Instance(name)
			if !ok {
				i = price.Instance{Type: name}
			}
			machines = append(machines, i)
		}
		t, unknown, err := client.Prices(ctx, q.region, machines)
		if len(unknown) > 0 {
			fmt.Fprintf(s.Err, "note: the parts of %s in %s are not known, so Google was not asked for them\n", strings.Join(unknown, ", "), q.region)
		}
		return t, err
	}
	client, err := awsprice.New(ctx)
	if err != nil {
		return nil, err
	}
	return client.Prices(ctx, q.region, q.types)
}
