package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/conform/sample"
	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

const help = `conform tells how well a service ends, whatever it is written in. It runs copies of
a command behind a balancer of its own, puts load on them, terminates one after the
other, and counts what clients lost.

A copy gets its port in PORT, and wherever its arguments say {port}; a second port,
for health checks, in HEALTH_PORT and {health-port}; its grace period in
EVENKEEL_GRACE_SECONDS; and the name of its notice file in EVENKEEL_DEADLINE_FILE.

Levels, each with those before it:
  C0  exits by itself within the grace period
  C1  finishes requests that are in flight at SIGTERM
  C2  loses nothing behind a balancer of layer 7
  C3  loses nothing on layer 4, where clients keep connections
  C4  ends streams cleanly, and they resume elsewhere
  C5  acts on a notice file, without SIGTERM

The balancer goes on sending to a copy for --lag after SIGTERM, whatever the copy
says about its readiness, and nothing is ever sent twice. With --post, a command
that writes {"ledger":"order","id":"..."} on standard output for each order is also
checked for orders that were lost or done twice.

Exit codes: 0 the level is reached, 1 it is not, 2 mistake in the command line,
3 the command could not be tested, 130 interrupted.`

const examples = `  # A service, as it is
  evenkeel-rehearse conform -- ./my-service --listen 127.0.0.1:{port}

  # The same behind the wrapper
  evenkeel-rehearse conform -- evenkeel-run -- ./my-service --listen '127.0.0.1:{child-port}'

  # A gRPC service, its calls and its streams
  evenkeel-rehearse conform --only-grpc --level C4 --grpc-call /shop.v1.Orders/List --grpc-watch /shop.v1.Orders/Watch -- ./my-service

  # A consumer of a queue, that answers nobody
  evenkeel-rehearse conform --no-requests --level C5 --ready-path http://127.0.0.1:{health-port}/readyz -- ./my-worker

  # For a release, in CI
  evenkeel-rehearse conform --terminations 30 --requests 100000 --rate 400 --lag 1s,5s -o junit -- ./my-service

  # What each way to end costs, on this machine: about an hour and a half
  evenkeel-rehearse conform --matrix matrix.jsonl

  # The same in three minutes, with one termination and few requests for each cell
  evenkeel-rehearse conform --matrix quick.jsonl --terminations 1 --requests 200`

// CommandConfig is what NewCommand needs of its surroundings.
type CommandConfig struct {
	Out, Err io.Writer

	// Failed is returned when the level is not reached, and Usage wraps mistakes in
	// the command line, so that the program chooses its exit code by them.
	Failed error
	Usage  func(error) error
}

// flags is the command line.
type flags struct {
	Config
	level    string
	rates    []string
	output   string
	matrix   string
	parts    []string
	ways     []string
	layers   []string
	capacity float64
	wrapper  string
	verbose  bool
}

// NewCommand returns the command conform.
func NewCommand(cc CommandConfig) *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:     "conform [flags] -- command [arguments]",
		Short:   "Test how well a service ends",
		Long:    help,
		Example: examples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.matrix != "" {
				for flag, set := range map[string]func(){
					"terminations": func() { f.Terminations = 30 }, "requests": func() { f.Requests = 100_000 },
					"rate": func() { f.rates = nil }, "lag": func() { f.Lags = nil },
				} {
					if !cmd.Flags().Changed(flag) {
						set()
					}
				}
			}
			return f.run(cmd.Context(), cc, args)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.level, "level", "C3", "level to reach, C0 to C5")
	fs.IntVar(&f.Copies, "copies", 3, "copies that run at a time")
	fs.IntVar(&f.Terminations, "terminations", 6, "terminations in each stage; with --matrix 30")
	fs.IntVar(&f.Requests, "requests", 2000, "requests in each stage, at least; with --matrix 100000")
	fs.StringSliceVar(&f.rates, "rate", []string{"200"}, "requests a second; each a stage; with --matrix: only stages of these")
	fs.DurationSliceVar(&f.Lags, "lag", []time.Duration{time.Second}, "how long the balancer goes on sending to a copy that ends; each a stage; with --matrix: only stages of these")
	fs.DurationVar(&f.Grace, "grace", 30*time.Second, "from SIGTERM to SIGKILL")
	fs.StringVar(&f.Ready, "ready-path", "", "path or URL that a ready copy answers with 2xx; default: it accepts connections")
	fs.DurationVar(&f.StartLimit, "start-limit", time.Minute, "until a copy has to be ready")
	fs.StringVar(&f.Get, "get", "/", "path of GET requests")
	fs.StringVar(&f.Post, "post", "", "path of POST requests; default: none are sent")
	fs.StringVar(&f.Body, "body", `{"id":"{id}"}`, "body of POST requests, with {id} replaced")
	fs.BoolVar(&f.H2C, "h2c", false, "test over HTTP/2 without TLS, too")
	fs.BoolVar(&f.Replay, "replay", false, "over HTTP/2, let clients repeat what a GOAWAY says was not processed")
	fs.BoolVar(&f.GRPC, "grpc", false, "test gRPC, too")
	fs.BoolVar(&f.OnlyGRPC, "only-grpc", false, "test gRPC and nothing else, for a service that speaks no HTTP/1.1")
	fs.StringVar(&f.Call, "grpc-call", "", "method of gRPC calls, with an empty message; default: /grpc.health.v1.Health/Check")
	fs.StringVar(&f.Watch, "grpc-watch", "", "method of gRPC streams, with an empty message; default: /grpc.health.v1.Health/Watch")
	fs.StringVar(&f.SSE, "sse", "", "path of an event stream, for C4")
	fs.StringVar(&f.WebSocket, "websocket", "", "path of a WebSocket, for C4")
	fs.IntVar(&f.Streams, "streams", 10, "streams of each kind")
	fs.BoolVar(&f.NoStreams, "no-streams", false, "the service has none: C4 asks nothing of it")
	fs.BoolVar(&f.NoRequests, "no-requests", false, "a worker that answers nobody, such as a consumer: only C0 and C5 ask something of it")
	fs.Uint64Var(&f.Seed, "seed", 1, "seed of everything random")
	fs.StringVarP(&f.output, "output", "o", "table", "what to print: table, json or junit")
	fs.StringVar(&f.matrix, "matrix", "", "compare the ways to end with a built-in service, instead of a command; `file` of results, from which an interrupted run goes on")
	fs.StringSliceVar(&f.parts, "parts", nil, "parts of the matrix; default: all ("+strings.Join(partNames(), ", ")+")")
	fs.StringArrayVar(&f.ways, "way", nil, "with --matrix: only this way to end, named as in the table; may be repeated")
	fs.StringSliceVar(&f.layers, "layer", nil, "with --matrix: only behind balancers of these layers, L4 or L7")
	fs.Float64Var(&f.capacity, "capacity", 2800, "requests a second that the cells of the matrix that run at a time may send together")
	fs.StringVar(&f.wrapper, "wrapper", "", "evenkeel-run, for --matrix; default: beside this program, or in PATH")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "show the standard error of the copies")
	for flag, values := range map[string][]string{"level": {"C0", "C1", "C2", "C3", "C4", "C5"}, "output": outputs} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	cmd.AddCommand(newSampleCommand())
	return cmd
}

// check completes the configuration from the command line.
func (f *flags) check(args []string) error {
	level, err := ParseLevel(f.level)
	if err != nil {
		return fmt.Errorf("--level: %w", err)
	}
	f.Level = level
	f.Rates = nil
	for _, s := range f.rates {
		rate, err := strconv.ParseFloat(s, 64)
		if err != nil || rate <= 0 || rate > 1e6 {
			return fmt.Errorf("--rate: %q is not a number of requests a second", s)
		}
		f.Rates = append(f.Rates, rate)
	}
	switch {
	case !slices.Contains(outputs, f.output):
		return fmt.Errorf("--output: %q is not one of %s", f.output, strings.Join(outputs, ", "))
	case f.matrix != "" && len(args) > 0:
		return errors.New("--matrix brings its own service: leave the command away")
	case f.matrix == "" && len(args) == 0:
		return errors.New("no command: put it after --, as in 'conform -- ./my-service'")
	case f.OnlyGRPC && (f.H2C || f.Post != "" || f.SSE != "" || f.WebSocket != ""):
		return errors.New("--only-grpc leaves out what --h2c, --post, --sse and --websocket ask for")
	case f.NoRequests && (f.OnlyGRPC || f.GRPC || f.H2C || f.Post != "" || f.SSE != "" || f.WebSocket != "" || f.Call != "" || f.Watch != ""):
		return errors.New("--no-requests contradicts what asks for requests or streams")
	case f.NoRequests && f.Ready == "":
		return errors.New("--no-requests needs --ready-path, such as http://127.0.0.1:{health-port}/readyz: there is no port that a worker is known by")
	case f.NoStreams && (f.SSE != "" || f.WebSocket != "" || f.Watch != ""):
		return errors.New("--no-streams contradicts --sse, --websocket and --grpc-watch")
	case f.Copies < 2:
		return errors.New("--copies: at least 2 are needed, so that one is left when another ends")
	case f.Terminations < 1 || f.Requests < 1 || f.Streams < 1:
		return errors.New("--terminations, --requests and --streams must be positive")
	case f.Grace < time.Second:
		return errors.New("--grace: less than a second is no grace period")
	}
	for _, name := range f.parts {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("--parts: %q is not one of %s", name, strings.Join(partNames(), ", "))
		}
	}
	for _, name := range f.ways {
		if !slices.Contains(wayNames(), name) {
			return fmt.Errorf("--way: %q is not one of:\n%s", name, strings.Join(wayNames(), "\n"))
		}
	}
	for _, name := range f.layers {
		if name != string(L4) && name != string(L7) {
			return fmt.Errorf("--layer: %q is neither L4 nor L7", name)
		}
	}
	for _, lag := range f.Lags {
		if lag < 0 {
			return errors.New("--lag must not be negative")
		}
	}
	f.Command = args
	return nil
}

func (f *flags) run(ctx context.Context, cc CommandConfig, args []string) error {
	if err := f.check(args); err != nil {
		return cc.Usage(err)
	}
	if f.verbose {
		f.Log = cc.Err
	}
	if f.matrix != "" {
		return f.runMatrix(ctx, cc)
	}
	show := newProgress(cc.Err)
	defer show.done()
	f.Progress = show.update
	r, err := Run(ctx, f.Config)
	show.done()
	if err != nil {
		return err
	}
	if err := r.write(cc.Out, f.output); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if !r.Pass {
		return cc.Failed
	}
	return nil
}

// runMatrix runs the matrix and prints it.
func (f *flags) runMatrix(ctx context.Context, cc CommandConfig) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	m := matrixConfig{
		terminations: f.Terminations, requests: f.Requests, capacity: f.capacity,
		self: []string{self, "conform", "sample"}, seed: f.Seed, results: f.matrix, log: cc.Err,
	}
	for _, p := range parts() {
		if len(f.parts) > 0 && !slices.Contains(f.parts, p.name) {
			continue
		}
		p.rates = only(p.rates, f.Rates)
		p.lags = only(p.lags, f.Lags)
		p.ways = slices.DeleteFunc(slices.Clone(p.ways), func(w way) bool { return len(f.ways) > 0 && !slices.Contains(f.ways, w.name) })
		p.balancers = slices.DeleteFunc(slices.Clone(p.balancers), func(b Balancer) bool {
			return len(f.layers) > 0 && !slices.Contains(f.layers, string(b))
		})
		m.parts = append(m.parts, p)
	}
	if m.wrapper, err = findWrapper(f.wrapper); err != nil {
		fmt.Fprintf(cc.Err, "The wrapper is left out: %v\n", err)
	}
	results, err := runMatrix(ctx, m) // what there is, even if it was interrupted
	if err := errors.Join(err, writeMatrix(cc.Out, m, results)); err != nil {
		return err
	}
	if wrong := m.verdict(results); len(wrong) > 0 {
		fmt.Fprintf(cc.Out, "\nFAIL:\n%s\n", strings.Join(wrong, "\n"))
		return cc.Failed
	}
	return nil
}

// only returns those of list that are wanted; all, if nothing is asked for.
func only[T comparable](list, wanted []T) []T {
	if len(wanted) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return !slices.Contains(wanted, v) })
}

func partNames() (names []string) {
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

// wayNames are those of all parts, each once.
func wayNames() (names []string) {
	for _, p := range parts() {
		for _, w := range p.ways {
			if !slices.Contains(names, w.name) {
				names = append(names, w.name)
			}
		}
	}
	return names
}

// progress shows how far a run is: on a terminal one line that is written over,
// elsewhere a line every five seconds.
type progress struct {
	p *report.Progress
}

func newProgress(w io.Writer) *progress { return &progress{p: report.NewProgress(w)} }

func (p *progress) update(s Progress) {
	rate := 0.0
	if s.Elapsed > 0 {
		rate = float64(s.Sent) / s.Elapsed.Seconds()
	}
	p.p.Update(report.Status{
		Phase:             fmt.Sprintf("stage %d of %d (%s), %d of %d terminated", s.Index, s.Stages, s.Stage, s.Terminated, s.Terminations),
		RequestsPerSecond: rate, Sent: int(s.Sent), Failed: int(s.Failed),
		Elapsed: s.Elapsed, Total: s.Total,
	})
}

func (p *progress) done() { p.p.Done() }

// newSampleCommand returns the service that --matrix terminates.
func newSampleCommand() *cobra.Command {
	var c sample.Config
	cmd := &cobra.Command{
		Use: "sample", Short: "The service that --matrix terminates", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Addr = "127.0.0.1:" + os.Getenv("PORT")
			if port := os.Getenv("HEALTH_PORT"); port != "" { // not behind the wrapper
				c.Health = "127.0.0.1:" + port
			}
			return sample.Run(c)
		},
	}
	cmd.Flags().StringVar((*string)(&c.End), "end", string(sample.Exit), "what it does at SIGTERM")
	cmd.Flags().DurationVar(&c.Sleep, "sleep", 3*time.Second, "of --end sleep, close and off")
	cmd.Flags().Float64Var(&c.Slow, "slow", 0, "share of requests that take 2 s")
	cmd.Flags().BoolVar(&c.GRPC, "grpc", false, "serve grpc-go, and nothing else")
	return cmd
}
