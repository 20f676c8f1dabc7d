package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	marketintelbrain "github.com/evenkeel-dev/evenkeel/examples/market-intel-brain"
	"github.com/evenkeel-dev/evenkeel/internal/trace"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/load"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/rehearse"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/scenario"
)

const runHelp = `evenkeel-rehearse starts a real Kubernetes control plane on this machine, runs the
services of a platform on it as real processes, puts load on them that waits for
nobody, and takes spot nodes away as a trace of real spot capacity says: first the
notice in the cloud's own format, then, at the deadline, the machine's power.

It reports how many requests were lost or done twice, how long ready replicas were
missing, and how fast nodes were cordoned and emptied, and ends with a verdict.
Nothing is sent to any other machine, and nothing is written but --report and a
working folder that is removed at the end: in $TMPDIR if that is set, else in memory
(/dev/shm) if there is room, else in /tmp.

Exit codes: 0 pass, 1 fail, 2 mistake in the command line or an input file,
3 the rehearsal could not be carried out, 130 interrupted.`

const runExamples = `  # The built-in scenario: Market Intel Brain on six spot nodes in three zones
  evenkeel-rehearse

  # As a real trace lost its nodes, with all handlers side by side
  evenkeel-rehearse --trace $EVENKEEL_DATA/spot-availability-aws/aws-2023-02-v100.csv --compare --report out

  # With the controller killed at random points of every drain
  evenkeel-rehearse --fault controller-kill

  # With a StatefulSet and Jobs
  evenkeel-rehearse --scenario examples/stateful-and-jobs/scenario.yaml \
    -f examples/stateful-and-jobs/platform.yaml --manifests examples/stateful-and-jobs/manifests

  # What would be played?
  evenkeel-rehearse --seed 7 --dry-run`

// streams are where a command writes: what was asked for on out, talk on err.
type streams struct{ out, err io.Writer }

// errVerdict says that the rehearsal was carried out and failed; the report has
// said why.
var errVerdict = errors.New("the verdict is fail")

// runFlags is the command line of a rehearsal.
type runFlags struct {
	scenario  string
	platform  string
	manifests []string
	trace     string
	zones     []string
	handler   string
	compare   bool
	faults    []string
	seed      uint64
	timeScale float64
	rate      float64
	load      string
	reportDir string
	output    string
	bin       string
	dryRun    bool
	print     bool
	keep      bool
	verbose   bool
}

func newRunCommand(io streams) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:     "evenkeel-rehearse",
		Short:   "Rehearse the loss of spot nodes on a real Kubernetes control plane",
		Long:    runHelp,
		Example: runExamples,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, io) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.scenario, "scenario", "", "scenario file; default: the built-in one, see --print-scenario")
	fs.StringVarP(&f.platform, "filename", "f", "", "platform file to rehearse; default: Market Intel Brain's")
	fs.StringSliceVar(&f.manifests, "manifests", nil, "manifests that stand beside the platform's: files, or folders of *.yaml.\nEvery unit of their Jobs must be done")
	fs.StringVar(&f.trace, "trace", "", "spot availability history (CSV) to play; default: a generated one with like statistics")
	fs.StringSliceVar(&f.zones, "zones", nil, "zones or pools of the trace to play, one for each spot pool; default: the most available ones")
	fs.StringVar(&f.handler, "handler", rehearse.Evenkeel, "who handles interruptions: evenkeel, drain (cordon and evict at once) or none")
	fs.BoolVar(&f.compare, "compare", false, "run all handlers, one after the other, and print them side by side")
	fs.StringArrayVar(&f.faults, "fault", nil, "what goes wrong besides (repeatable):\n"+rehearse.FaultHelp)
	fs.Uint64Var(&f.seed, "seed", 0, "seed of everything random; default: the scenario's")
	fs.Float64Var(&f.timeScale, "time-scale", 0, "how many times faster than the cloud's clock the rehearsal runs; default: the scenario's")
	fs.Float64Var(&f.rate, "rate", 0, "requests a second; default: the scenario's")
	fs.StringVar(&f.load, "load", "", "load profile: a file with how the rate goes over time, and what is asked")
	fs.StringVar(&f.reportDir, "report", "", "folder for report.json and report.html")
	fs.StringVarP(&f.output, "output", "o", "table", "what to print: table, json or yaml")
	fs.StringVar(&f.bin, "bin", "", "folder with the programs that stand for container images; default: that of this program")
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the plan and stop")
	fs.BoolVar(&f.print, "print-scenario", false, "print the built-in scenario, to start one's own from, and stop")
	fs.BoolVar(&f.keep, "keep", false, "keep the working folder, with all logs")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "log what happens to standard error")
	for flag, values := range map[string][]string{
		"handler": rehearse.Handlers,
		"output":  {"table", "json", "yaml"},
		"fault":   {string(rehearse.ControllerKill), string(rehearse.APIServerStop) + "=10s", string(rehearse.DuplicateNotices)},
	} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, io streams) error {
	if f.print {
		_, err := io.out.Write(scenario.DefaultYAML())
		return err
	}
	config, err := f.config(cmd)
	if err != nil {
		return usageError{err}
	}
	fmt.Fprint(io.err, config.Plan)
	if left := config.Platform.LeftOut; len(left) > 0 {
		fmt.Fprintf(io.err, "  not rehearsed, since there is no program for their images: %s\n", strings.Join(left, ", "))
	}
	if f.dryRun {
		return nil
	}
	r, err := f.rehearse(cmd.Context(), io, config)
	if err != nil {
		return err
	}
	if err := f.write(io, r); err != nil {
		return err
	}
	if r.Verdict != report.Pass {
		return errVerdict
	}
	return nil
}

// config reads everything that the user has given, and starts nothing.
func (f *runFlags) config(cmd *cobra.Command) (*rehearse.Config, error) {
	sc := scenario.Default()
	if f.scenario != "" {
		var err error
		if sc, err = scenario.Load(f.scenario); err != nil {
			return nil, err
		}
	}
	c := &rehearse.Config{Scenario: sc, Handlers: []string{f.handler}}
	if f.compare {
		if cmd.Flags().Changed("handler") {
			return nil, errors.New("--compare runs all handlers: leave --handler out")
		}
		c.Handlers = slices.Clone(rehearse.Handlers)
	}
	if !slices.Contains([]string{"table", "json", "yaml"}, f.output) {
		return nil, fmt.Errorf("--output=%s: must be table, json or yaml", f.output)
	}
	if cmd.Flags().Changed("seed") {
		sc.Seed = f.seed
	}
	for _, text := range f.faults {
		fault, err := rehearse.ParseFault(text)
		if err != nil {
			return nil, err
		}
		c.Faults = append(c.Faults, fault)
		sc.TimeScale = min(sc.TimeScale, fault.AtMost(sc.NoticeLead))
	}
	if cmd.Flags().Changed("time-scale") {
		if f.timeScale < 1 || f.timeScale > 20 {
			return nil, fmt.Errorf("--time-scale=%g: must be between 1 (as slow as the cloud) and 20", f.timeScale)
		}
		sc.TimeScale = f.timeScale
	}
	if cmd.Flags().Changed("rate") {
		if f.rate <= 0 || f.rate > 20000 {
			return nil, fmt.Errorf("--rate=%g: must be above 0 and at most 20000 requests a second", f.rate)
		}
		sc.Load.Rate = f.rate
	}
	if f.load != "" {
		if cmd.Flags().Changed("rate") {
			return nil, errors.New("--load has rates of its own: leave --rate out")
		}
		p, err := load.ReadProfile(f.load)
		if err != nil {
			return nil, fmt.Errorf("--load: %w", err)
		}
		c.LoadProfile = p
	}
	var err error
	if c.Plan, err = plan(sc, f.trace, f.zones); err != nil {
		return nil, err
	}
	if c.Bin = f.bin; c.Bin == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("finding this program's folder: %w", err)
		}
		c.Bin = filepath.Dir(exe)
	}
	if c.Bin, err = filepath.Abs(c.Bin); err != nil {
		return nil, fmt.Errorf("--bin: %w", err)
	}
	if c.Platform, err = platform(f.platform, sc, c.Bin); err != nil {
		return nil, err
	}
	if err := addManifests(c.Platform, f.manifests, sc, c.Bin); err != nil {
		return nil, err
	}
	return c, c.Check()
}

// addManifests reads what stands beside the platform.
func addManifests(p *rehearse.Platform, paths []string, sc *scenario.Scenario, bin string) error {
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return fmt.Errorf("--manifests: %w", err)
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return fmt.Errorf("--manifests: %w", err)
			}
			if len(files) == 0 {
				return fmt.Errorf("--manifests: %s has no *.yaml", path)
			}
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return fmt.Errorf("--manifests: %w", err)
			}
			if err := p.Add(file, data, sc.Images, bin); err != nil {
				return err
			}
		}
	}
	return nil
}

// platform reads what is rehearsed.
func platform(file string, sc *scenario.Scenario, bin string) (*rehearse.Platform, error) {
	if file == "" {
		return rehearse.NewPlatform(bytes.NewReader(marketintelbrain.Platform), "platform.yaml", sc.Images, bin)
	}
	r, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("opening the platform: %w", err)
	}
	defer r.Close()
	return rehearse.NewPlatform(r, file, sc.Images, bin)
}

// plan says what will be played: the scenario's own reclaims, or those of a trace.
func plan(sc *scenario.Scenario, file string, zones []string) (*scenario.Plan, error) {
	if file == "" && len(sc.Reclaims) > 0 {
		return sc.Script()
	}
	tr, err := openTrace(sc, file)
	if err != nil {
		return nil, err
	}
	return scenario.FromTrace(sc, tr, zones)
}

func openTrace(sc *scenario.Scenario, file string) (*trace.Trace, error) {
	if file == "" {
		return sc.GenerateTrace()
	}
	return scenario.OpenTrace(file, trace.Defaults{})
}

// rehearse runs in a temporary folder that is gone afterwards, whatever happens.
func (f *runFlags) rehearse(ctx context.Context, io streams, c *rehearse.Config) (r *report.Report, err error) {
	if c.Dir, err = os.MkdirTemp(parentDir(), "evenkeel-rehearse-"); err != nil {
		return nil, fmt.Errorf("making a working folder: %w", err)
	}
	defer func() {
		if f.keep {
			fmt.Fprintln(io.err, "kept:", c.Dir)
		} else if e := os.RemoveAll(c.Dir); e != nil {
			err = errors.Join(err, fmt.Errorf("removing the working folder: %w", e))
		}
	}()
	c.Log = slog.New(slog.DiscardHandler)
	if f.verbose {
		c.Log = slog.New(slog.NewTextHandler(io.err, nil))
	} else if f.keep {
		file, err := os.Create(filepath.Join(c.Dir, "rehearsal.log"))
		if err != nil {
			return nil, fmt.Errorf("making a log: %w", err)
		}
		defer file.Close()
		c.Log = slog.New(slog.NewTextHandler(file, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	klog.SetSlogLogger(c.Log.With("from", "client-go"))
	c.Progress = report.NewProgress(io.err)
	defer c.Progress.Done()
	return rehearse.Run(ctx, *c)
}

// write prints the report, and writes its files where it was asked to.
func (f *runFlags) write(io streams, r *report.Report) error {
	switch f.output {
	case "json":
		if err := r.WriteJSON(io.out); err != nil {
			return err
		}
	case "yaml":
		b, err := json.Marshal(r)
		if err == nil {
			b, err = yaml.JSONToYAML(b)
		}
		if err != nil {
			return fmt.Errorf("encoding the report: %w", err)
		}
		if _, err := io.out.Write(b); err != nil {
			return err
		}
	default:
		_, color, width := report.Terminal(io.out)
		if err := r.WriteTable(io.out, width, color); err != nil {
			return err
		}
	}
	if f.reportDir == "" {
		return nil
	}
	if err := os.MkdirAll(f.reportDir, 0o755); err != nil {
		return fmt.Errorf("making the report's folder: %w", err)
	}
	for name, write := range map[string]func(*os.File) error{
		"report.json": func(w *os.File) error { return r.WriteJSON(w) },
		"report.html": func(w *os.File) error { return r.WriteHTML(w) },
	} {
		path := filepath.Join(f.reportDir, name)
		if err := writeFile(path, write); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	fmt.Fprintf(io.err, "report: %s\n", strings.Join([]string{filepath.Join(f.reportDir, "report.json"), filepath.Join(f.reportDir, "report.html")}, ", "))
	return nil
}

func writeFile(path string, write func(*os.File) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}
