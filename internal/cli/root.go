package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/internal/spec"
)

// exitInterrupted is the code after Ctrl-C, as shells give it.
const exitInterrupted = 130

// commands lists the verbs.
func commands(s Streams) []*cobra.Command {
	return []*cobra.Command{
		NewInitCommand(s),
		NewRenderCommand(s),
		NewLintCommand(s),
		NewDiffCommand(s),
		NewCostCommand(s),
		NewSimulateCommand(s),
		NewPlanCommand(s),
		NewSchemaCommand(s),
		NewReportCommand(s),
		NewDrainCommand(s),
		NewCancelCommand(s),
		NewRunbookCommand(s),
	}
}

const rootHelp = `evenkeel turns one file, platform.yaml, into everything that a platform needs to
live on spot machines, finds what would break there, and compares with what runs.

Exit codes: 0 done and nothing found; 1 findings or differences; 2 wrong usage or
invalid input; 3 could not be done; 130 interrupted.`

// Main runs one command line, without the program's name, and returns the exit
// code.
func Main(ctx context.Context, args []string, s Streams) int {
	root := &cobra.Command{
		Use:           "evenkeel",
		Short:         "Run a Kubernetes platform on spot machines, and prove that it stays up",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(commands(s)...)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(wrongUsage)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return exitInterrupted
	}
	if err != nil && err.Error() != "" {
		fmt.Fprintln(s.Err, err)
	}
	return ExitCode(err)
}

func wrongUsage(c *cobra.Command, err error) error {
	return &ExitError{ExitUsage, fmt.Errorf("%w; see '%s --help'", err, c.CommandPath())}
}

func noArgs(c *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !c.HasSubCommands():
		return wrongUsage(c, fmt.Errorf("unexpected argument %q", args[0]))
	}
	hint := ""
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
	}
	return wrongUsage(c, fmt.Errorf("there is no command %q%s", args[0], hint))
}

// failed marks an error as something that could not be done.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{ExitFailed, err}
}

// found ends a command that has said what it found.
func found() error { return &ExitError{Code: ExitFindings} }

// fileFlag adds -f to a command.
func fileFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "filename", "f", "platform.yaml", "platform `file`; - is standard input")
}

// readPlatform reads and checks a platform file.
func readPlatform(s Streams, path string) (*spec.Platform, error) {
	in, name := s.In, "<stdin>"
	if path != "-" {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, failed(fmt.Errorf("%w; 'evenkeel init' writes one to start from", err))
		}
		if err != nil {
			return nil, failed(err)
		}
		defer f.Close()
		in, name = f, path
	}
	p, err := spec.Parse(in, name)
	if err != nil {
		return nil, &ExitError{ExitUsage, err}
	}
	return p, nil
}
