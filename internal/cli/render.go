package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/render"
)

const renderHelp = `Render writes every manifest and the Terraform of a platform.

With -o DIR it writes them below that folder, and removes files there that an
earlier render wrote and this one does not. Without -o it writes Kubernetes
manifests to standard output, ready for kubectl; name other families or kinds
with --only.

With --check it writes nothing, and exits with 1 if the folder is not what would
be written: for CI.`

const renderExamples = `  evenkeel render -o rendered
  evenkeel render | kubectl apply --server-side -f -
  evenkeel render --only keda,PodDisruptionBudget
  evenkeel render --patch -o overlays/spot`

// NewRenderCommand returns the command "render".
func NewRenderCommand(s Streams) *cobra.Command {
	var file, dir string
	var options render.Options
	var check bool
	c := &cobra.Command{
		Use:     "render",
		Short:   "Write manifests, rules, dashboards and Terraform",
		Long:    renderHelp,
		Example: renderExamples,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if check && dir == "" {
				return wrongUsage(c, errors.New("--check needs -o DIR to compare with"))
			}
			p, err := readPlatform(s, file)
			if err != nil {
				return err
			}
			partial := len(options.Only) > 0
			if dir == "" && !partial {
				options.Only = []string{"kubernetes"}
			}
			files, err := render.Render(p, options)
			switch {
			case err != nil:
				return &ExitError{ExitUsage, err}
			case dir == "":
				return failed(writeStream(s, files))
			case check:
				return checkDir(s, dir, files, !partial)
			}
			return failed(writeDir(s, dir, files, !partial))
		},
	}
	fileFlag(c, &file)
	c.Flags().StringVarP(&dir, "output", "o", "", "write below this `folder`")
	c.Flags().StringSliceVar(&options.Only, "only", nil, "families (kubernetes, karpenter, keda, prometheus, grafana, terraform) or `kinds`, separated by commas")
	c.Flags().BoolVar(&options.Patch, "patch", false, "write kustomize patches for workloads that exist, instead of workloads")
	c.Flags().BoolVar(&options.FixedReplicas, "fixed-replicas", false, "for clusters without KEDA: state replicas instead of scaling")
	c.Flags().BoolVar(&check, "check", false, "compare with the folder instead of writing")
	return c
}

func writeStream(s Streams, files []render.File) error {
	for i, f := range files {
		if i > 0 && filepath.Ext(f.Path) == ".yaml" {
			if _, err := fmt.Fprintln(s.Out, "---"); err != nil {
				return err
			}
		}
		if _, err := s.Out.Write(f.Data); err != nil {
			return err
		}
	}
	return nil
}

func writeDir(s Streams, dir string, files []render.File, whole bool) error {
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return err
		}
	}
	removed := 0
	if whole {
		old, err := leftOver(dir, files)
		if err != nil {
			return err
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
		removed = len(old)
	}
	fmt.Fprintf(s.Err, "wrote %d files to %s", len(files), dir)
	if removed > 0 {
		fmt.Fprintf(s.Err, ", removed %d that are no longer rendered", removed)
	}
	fmt.Fprintln(s.Err)
	return nil
}

func checkDir(s Streams, dir string, files []render.File, whole bool) error {
	stale := 0
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, f.Data) {
			stale++
			fmt.Fprintf(s.Out, "%s is stale\n", path)
		}
	}
	if whole {
		old, err := leftOver(dir, files)
		if err != nil {
			return failed(err)
		}
		for _, path := range old {
			stale++
			fmt.Fprintf(s.Out, "%s is no longer rendered\n", path)
		}
	}
	if stale > 0 {
		fmt.Fprintf(s.Err, "run: evenkeel render -o %s\n", dir)
		return found()
	}
	return nil
}

// leftOver returns files below dir that carry render's mark and are not among
// the files. A file without the mark is somebody's own and is left alone.
func leftOver(dir string, files []render.File) ([]string, error) {
	current := make(map[string]bool, len(files))
	for _, f := range files {
		current[filepath.Join(dir, filepath.FromSlash(f.Path))] = true
	}
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || current[path] {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(data, []byte(render.Mark)) {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}
