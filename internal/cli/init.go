package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/adopt"
	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

const initHelp = `Init writes a platform file to start from: a commented example, or one that
describes what there is, read from manifests or from a cluster.

What cannot be seen, such as the promise behind a missing budget, is filled in
with a careful value and marked CHECK. An existing file is not overwritten.`

const initExamples = `  evenkeel init
  evenkeel init --from k8s/
  helm template shop charts/shop | evenkeel init --from - -o -
  evenkeel init --from-cluster --context production -n shop`

//go:embed starter.yaml
var starter string

// NewInitCommand returns the command "init".
func NewInitCommand(s Streams) *cobra.Command {
	var output, from, namespace string
	var fromCluster bool
	var cluster clusterFlags
	c := &cobra.Command{
		Use:     "init",
		Short:   "Write a platform file to start from",
		Long:    initHelp,
		Example: initExamples,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if from != "" && fromCluster {
				return wrongUsage(c, errors.New("--from and --from-cluster cannot both be given"))
			}
			text := starter
			if from != "" || fromCluster {
				var in adopt.Input
				var err error
				if fromCluster {
					in, err = readCluster(c.Context(), &cluster, namespace)
				} else {
					in, err = readManifests(s, from, namespace)
				}
				if err != nil {
					return failed(err)
				}
				if text, err = adopt.Platform(in); err != nil {
					return &ExitError{ExitUsage, err}
				}
			}
			if err := writeNew(s, output, text); err != nil {
				return failed(err)
			}
			return sayWhatIsOpen(s, output, text)
		},
	}
	cluster.add(c)
	c.Flags().StringVarP(&output, "output", "o", "platform.yaml", "write this `file`; - is standard output")
	c.Flags().StringVar(&from, "from", "", "describe the manifests in this `file or folder`; - is standard input")
	c.Flags().BoolVar(&fromCluster, "from-cluster", false, "describe what runs in a namespace of a cluster")
	c.Flags().StringVarP(&namespace, "namespace", "n", "", "`namespace` to read; with --from, only that one if there are several")
	return c
}

func writeNew(s Streams, path, text string) error {
	if path == "-" {
		_, err := fmt.Fprint(s.Out, text)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already; name another file with -o", path)
	}
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// sayWhatIsOpen tells what a person still has to decide. What was read may well
// contradict itself, which is what a platform file is there to show.
func sayWhatIsOpen(s Streams, path, text string) error {
	if path != "-" {
		fmt.Fprintf(s.Err, "wrote %s\n", path)
	}
	if n := strings.Count(text, "# CHECK"); n > 0 {
		fmt.Fprintf(s.Err, "%d values could not be read and are marked CHECK\n", n)
	}
	if _, err := spec.Parse(strings.NewReader(text), path); err != nil {
		fmt.Fprintf(s.Err, "before it can be rendered:\n%v\n", err)
		return found()
	}
	return nil
}
