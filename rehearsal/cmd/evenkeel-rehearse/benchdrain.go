package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/drainbench"
)

const benchDrainHelp = `bench-drain takes many nodes away at once and measures how fast evenkeel-controller
cordons and empties them, what is lost meanwhile, and what the controller takes of its
machine. The control plane is real, and the controller is the program that is shipped,
with its arguments and rights. Nodes and pods are played: a pod is Ready 8-12 s after
its start, and gone 4-5 s after it is asked to go.

The largest case runs a second time with a client that issues the same writes and does
nothing else: what that takes is what the control plane takes on this machine.

All cases take some ten minutes on two cores. Nothing else should run meanwhile.

Exit codes: 0 every bar is reached, 1 one is not, 2 mistake in the command line,
3 it could not be carried out, 130 interrupted.`

// benchFlags is the command line of bench-drain.
type benchFlags struct {
	cases   []string
	report  string
	output  string
	bin     string
	seed    uint64
	keep    bool
	verbose bool
}

func newBenchDrainCommand(io streams) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench-drain",
		Short: "Measure how fast many nodes are emptied at once",
		Long:  benchDrainHelp,
		Example: `  # All cases, as in docs/guides/benchmarks.md
  evenkeel-rehearse bench-drain

  # One of them, with the logs kept
  evenkeel-rehearse bench-drain --case pool --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), io) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	var help []string
	for _, c := range drainbench.Cases() {
		help = append(help, fmt.Sprintf("%-10s  %s", c.Name, c.Title))
	}
	fs.StringSliceVar(&f.cases, "case", nil, "what to measure; default: all of\n"+strings.Join(help, "\n"))
	fs.StringVar(&f.report, "report", "", "file for the figures as JSON")
	fs.StringVarP(&f.output, "output", "o", "table", "what to print: table or json")
	fs.StringVar(&f.bin, "bin", "", "folder with evenkeel-controller; default: that of this program")
	fs.Uint64Var(&f.seed, "seed", 1, "seed of everything random")
	fs.BoolVar(&f.keep, "keep", false, "keep the working folder, with all logs")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "log what happens to standard error")
	return cmd
}

// chosen returns the cases that were asked for, in their usual order.
func (f *benchFlags) chosen() ([]drainbench.Case, error) {
	all := drainbench.Cases()
	if len(f.cases) == 0 {
		return all, nil
	}
	for _, name := range f.cases {
		if !slices.ContainsFunc(all, func(c drainbench.Case) bool { return c.Name == name }) {
			return nil, fmt.Errorf("--case=%s: there is no such case; --help lists them", name)
		}
	}
	return slices.DeleteFunc(all, func(c drainbench.Case) bool { return !slices.Contains(f.cases, c.Name) }), nil
}

func (f *benchFlags) run(ctx context.Context, io streams) (err error) {
	cases, err := f.chosen()
	if err != nil {
		return usageError{err}
	}
	if f.output != "table" && f.output != "json" {
		return usageError{fmt.Errorf("--output=%s: must be table or json", f.output)}
	}
	bin := f.bin
	if bin == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding this program's folder: %w", err)
		}
		bin = filepath.Dir(exe)
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return usageError{fmt.Errorf("--bin: %w", err)}
	}
	dir, err := os.MkdirTemp(parentDir(), "evenkeel-bench-")
	if err != nil {
		return fmt.Errorf("making a working folder: %w", err)
	}
	defer func() {
		if f.keep {
			fmt.Fprintln(io.err, "kept:", dir)
		} else if e := os.RemoveAll(dir); e != nil {
			err = errors.Join(err, fmt.Errorf("removing the working folder: %w", e))
		}
	}()
	log := slog.New(slog.DiscardHandler)
	if f.verbose {
		log = slog.New(slog.NewTextHandler(io.err, nil))
	}
	klog.SetSlogLogger(log.With("from", "client-go"))
	r, err := drainbench.Run(ctx, drainbench.Config{
		Bin: bin, Dir: dir, Seed: f.seed, Log: log, Say: func(s string) { fmt.Fprintln(io.err, s) },
	}, cases)
	if err != nil {
		return err
	}
	return f.write(io, r)
}

func (f *benchFlags) write(io streams, r *drainbench.Report) error {
	write := r.WriteTable
	if f.output == "json" {
		write = r.WriteJSON
	}
	if err := write(io.out); err != nil {
		return err
	}
	if f.report != "" {
		if err := os.MkdirAll(filepath.Dir(f.report), 0o755); err != nil {
			return fmt.Errorf("making the report's folder: %w", err)
		}
		if err := writeFile(f.report, func(w *os.File) error { return r.WriteJSON(w) }); err != nil {
			return fmt.Errorf("writing %s: %w", f.report, err)
		}
	}
	if !r.Pass() {
		return errVerdict
	}
	return nil
}
