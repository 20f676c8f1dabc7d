package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/awsprice"
	"github.com/evenkeel-dev/evenkeel/internal/price"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// priceFlags say where prices come from. Every command that counts money has
// them: what is built in, then what AWS was last asked for, then a folder's; of
// two prices for the same thing the later one counts.
type priceFlags struct {
	data    string
	refresh bool
	builtin bool
}

func (f *priceFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.data, "data", "", "`folder` with price files, such as that of EVENKEEL_DATA")
	c.Flags().BoolVar(&f.refresh, "refresh", false, "ask AWS for today's prices of the file's instance types, and keep them for later runs")
	c.Flags().BoolVar(&f.builtin, "builtin", false, "use only the prices that are built in")
}

// check refuses flags that contradict each other.
func (f *priceFlags) check() error {
	if f.builtin && (f.refresh || f.data != "") {
		return errors.New("--builtin goes with neither --refresh nor --data")
	}
	return nil
}

// table returns the prices to count with. The platform, which may be nil, says
// what to ask AWS for.
func (f *priceFlags) table(ctx context.Context, s Streams, p *spec.Platform) (*price.Table, error) {
	t := price.Builtin()
	if f.builtin {
		return t, nil
	}
	if f.refresh {
		if p == nil {
			return nil, errors.New("--refresh needs a platform file: it says for which prices to ask")
		}
		if err := refresh(ctx, p); err != nil {
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

// cacheDir is where prices are kept that AWS was asked for.
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
		fmt.Fprintf(s.Err, "prices of AWS in %s are %s old\n", dir, age(time.Since(newest)))
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

// refresh asks AWS and keeps the answer, beside what was kept of other types.
func refresh(ctx context.Context, p *spec.Platform) error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	var types []string
	for _, pool := range p.Pools {
		types = append(types, pool.InstanceTypes...)
	}
	slices.Sort(types)
	types = slices.Compact(types)
	if len(types) == 0 {
		return errors.New("the pools name no instance types to ask AWS for")
	}
	client, err := awsprice.New(ctx)
	if err != nil {
		return err
	}
	fresh, err := client.Prices(ctx, p.Cluster.Region, types)
	if err != nil {
		return err
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
