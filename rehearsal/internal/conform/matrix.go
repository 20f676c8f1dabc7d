package conform

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// part is one question of the matrix: the ways that it compares, and under which
// conditions.
type part struct {
	name  string
	about string
	conditions
	ways   []way
	change func(*Config) // what else differs from the default; may be nil
	args   []string      // of the service
	spared int           // requests for which a way that keeps everything may lose one; 0: none
}

// conditions are a stage for each combination.
type conditions struct {
	balancers []Balancer
	protocol  protocol
	lags      []time.Duration
	rates     []float64
	streams   bool
	notice    bool
}

func (c conditions) stages() (out []stageConfig) {
	for _, b := range c.balancers {
		for _, lag := range c.lags {
			for _, rate := range c.rates {
				out = append(out, stageConfig{balancer: b, protocol: c.protocol, rate: rate, lag: lag, streams: c.streams, notice: c.notice})
			}
		}
	}
	return out
}

// parts is the matrix.
func parts() []part {
	oneSecond, both := []time.Duration{time.Second}, []time.Duration{time.Second, 5 * time.Second}
	usual := []float64{400}
	l4, l7, any := []Balancer{L4}, []Balancer{L7}, []Balancer{L7, L4}
	return []part{
		{
			name: "http1", about: "HTTP/1.1; on layer 4, 80 % of the requests over connections that are kept",
			conditions: conditions{balancers: any, protocol: http1, lags: both, rates: []float64{4, 400, 2000}}, ways: common,
		}, {
			name: "http1-1000", about: "More of it over connections that are kept",
			conditions: conditions{balancers: l4, protocol: http1, lags: oneSecond, rates: []float64{1000}}, ways: common,
		}, {
			name: "new", about: "A connection for each request",
			conditions: conditions{balancers: l4, protocol: http1, lags: oneSecond, rates: usual}, ways: common,
			change: func(c *Config) { c.NewConnShare = 1 },
		}, {
			name: "slow", about: "2 % of the requests take 2 s",
			conditions: conditions{balancers: l7, protocol: http1, lags: oneSecond, rates: usual}, ways: common, args: []string{"--slow", "0.02"},
		}, {
			name: "retries", about: "A balancer that tries another copy where a connection is refused",
			conditions: conditions{balancers: l7, protocol: http1, lags: oneSecond, rates: usual}, ways: []way{exitWay, shutdownWay},
			change: func(c *Config) { c.retries = 3 },
		}, {
			name: "sleep", about: "What may be done during a fixed sleep",
			conditions: conditions{balancers: any, protocol: http1, lags: oneSecond, rates: []float64{400, 1000}}, ways: []way{closeWay, offWay},
		}, {
			name: "ready", about: "The wrapper without its proxy",
			conditions: conditions{balancers: any, protocol: http1, lags: oneSecond, rates: usual}, ways: []way{readyWay},
		}, {
			name: "h2c", about: "HTTP/2 without TLS, 12 clients, POSTs that cannot be repeated",
			conditions: conditions{balancers: l4, protocol: h2c, lags: both, rates: usual}, ways: common, spared: 50_000,
		}, {
			name: "h2c-replay", about: "The same with POSTs that clients can repeat",
			conditions: conditions{balancers: l4, protocol: h2c, lags: oneSecond, rates: usual}, ways: []way{libraryWay, proxyWay},
			change: func(c *Config) { c.Replay = true },
		}, {
			name: "streams", about: "20 event streams and 20 WebSockets beside the requests",
			conditions: conditions{balancers: l4, protocol: http1, lags: oneSecond, rates: usual, streams: true}, ways: common,
			change: func(c *Config) { c.SSE, c.WebSocket = "/events", "/ws" },
		}, {
			name: "notice", about: "A notice and no SIGTERM",
			conditions: conditions{balancers: l4, protocol: http1, lags: oneSecond, rates: usual, notice: true}, ways: []way{libraryWay, proxyWay},
		}, {
			name: "grpc", about: "grpc-go, 12 clients, 20 streams, SIGKILL after 12 s",
			conditions: conditions{balancers: l4, protocol: grpc, lags: oneSecond, rates: []float64{300}, streams: true},
			ways:       []way{exitWay, stopWay, gracefulWay, gracefulForWay, grpcSleepWay, libraryWay},
			args:       []string{"--grpc"},
			change:     func(c *Config) { c.Grace = 12 * time.Second },
		},
	}
}

// matrixConfig says how to run the matrix.
type matrixConfig struct {
	parts        []part
	terminations int      // of a way that keeps everything, in each stage; others get a third
	requests     int      // the same
	capacity     float64  // requests a second that cells may send together
	self         []string // runs the sample service
	wrapper      string   // path of evenkeel-run; empty: ways that need it are left out
	seed         uint64
	results      string // file of results, one line of JSON for each cell; those that it has are not run again
	log          io.Writer
}

// cell is one stage with one way to end.
type cell struct {
	part  part
	stage stageConfig
	way   way
	cellKey
}

// cellKey tells whether a result is that of a cell.
type cellKey struct {
	Part         string `json:"part"`
	Way          string `json:"way"`
	Stage        string `json:"stage"`
	Terminations int    `json:"terminations"`
	Requests     int    `json:"requests"`
}

// cellResult is a line of the file of results.
type cellResult struct {
	cellKey
	Result StageResult `json:"result"`
}

// patience is what the requests of a cell may take: a stage of 4 requests a second
// is about terminations.
const patience = 5 * time.Minute

func (m matrixConfig) cells() (out []cell) {
	for _, p := range m.parts {
		for _, sc := range p.stages() {
			for _, w := range p.ways {
				if w.mode != "" && m.wrapper == "" {
					continue
				}
				key := cellKey{p.name, w.name, sc.String(), m.terminations, min(m.requests, int(sc.rate*patience.Seconds()))}
				if !w.keeps {
					key.Terminations, key.Requests = max(1, key.Terminations/3), max(1, key.Requests/10)
				}
				out = append(out, cell{p, sc, w, key})
			}
		}
	}
	return out
}

// config is that of the cell's only stage.
func (c cell) config(m matrixConfig) Config {
	cfg := Config{
		Command: c.way.command(m.self, m.wrapper, c.part.args), Level: C3,
		Terminations: c.Terminations, Requests: c.Requests, Post: "/orders", Seed: m.seed, Streams: 20,
	}
	if c.part.protocol == grpc {
		cfg.Post, cfg.Call, cfg.Watch = "", "/evenkeel.conform.Sample/Call", "/evenkeel.conform.Sample/Watch"
	}
	if c.part.change != nil {
		c.part.change(&cfg)
	}
	return cfg.withDefaults()
}

// runMatrix runs the cells that the file of results has not, as many at a time as
// the machine can bear, and returns the results of all. With an error it returns
// those that there are.
func runMatrix(ctx context.Context, m matrixConfig) (map[cellKey]StageResult, error) {
	results, err := readResults(m.results)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(m.results, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return results, fmt.Errorf("opening the file of results: %w", err)
	}
	defer file.Close()
	defer adoptOrphans()()

	cells := m.cells()
	todo := slices.DeleteFunc(slices.Clone(cells), func(c cell) bool { _, done := results[c.cellKey]; return done })
	fmt.Fprintf(m.log, "%d cells, %d of them done\n", len(cells), len(cells)-len(todo))

	// The big ones first: small ones fit beside them, and not the other way round.
	slices.SortStableFunc(todo, func(a, b cell) int { return cmp.Compare(b.stage.rate, a.stage.rate) })
	type outcome struct {
		cell   cell
		result StageResult
		err    error
		took   time.Duration
	}
	var (
		failures []error
		running  int
		free     = m.capacity
		finished = make(chan outcome)
	)
	for {
		for i := 0; i < len(todo) && ctx.Err() == nil; {
			c := todo[i]
			if m.share(c) > free {
				i++
				continue
			}
			todo = slices.Delete(todo, i, i+1)
			free -= m.share(c)
			running++
			go func() {
				began := time.Now()
				result, err := c.run(ctx, m)
				finished <- outcome{c, result, err, time.Since(began)}
			}()
		}
		if running == 0 {
			break
		}
		o := <-finished
		running--
		free += m.share(o.cell)
		if o.err != nil {
			failures = append(failures, fmt.Errorf("%s, %s, %s: %w", o.cell.Part, o.cell.Stage, o.cell.Way, o.err))
			continue
		}
		results[o.cell.cellKey] = o.result
		if err := json.NewEncoder(file).Encode(cellResult{o.cell.cellKey, o.result}); err != nil {
			failures = append(failures, fmt.Errorf("writing a result: %w", err))
		}
		fmt.Fprintf(m.log, "%d of %d done: %s, %s, %s: %s (%s)\n", len(cells)-len(todo)-running, len(cells),
			o.cell.Part, o.cell.Stage, o.cell.Way, summary(o.result), o.took.Round(time.Second))
	}
	if err := ctx.Err(); err != nil {
		return results, err
	}
	return results, errors.Join(failures...)
}

// tooMuch reports whether the load was too much for the machine. That a few
// requests in a hundred could not be sent makes no difference to the others.
func (r StageResult) tooMuch() bool { return r.NotSent > r.Sent/20 }

// share is the part of the capacity that a cell takes. One that wants more than
// there is runs alone.
func (m matrixConfig) share(c cell) float64 { return min(c.stage.rate, m.capacity) }

func (c cell) run(ctx context.Context, m matrixConfig) (StageResult, error) {
	s := newSpawner()
	defer s.close()
	return newStage(c.config(m), c.stage, s, 0).run(ctx, func(Progress) {})
}

// readResults reads a file of results; none is an empty one. A last line that was
// cut off by a crash is passed over, and so are results for which the machine was
// too small: their cells are run again.
func readResults(name string) (map[cellKey]StageResult, error) {
	results := make(map[cellKey]StageResult)
	file, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return results, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the results so far: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r cellResult
		if json.Unmarshal(lines.Bytes(), &r) == nil && !r.Result.tooMuch() {
			results[r.cellKey] = r.Result
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the results so far: %w", err)
	}
	return results, nil
}

// summary is a cell of the table: failed of sent, and what else went wrong.
func summary(r StageResult) string {
	mean, killed := 0.0, 0
	for _, e := range r.Exits {
		mean += e.Seconds / float64(len(r.Exits))
		if e.Killed {
			killed++
		}
	}
	parts := []string{fmt.Sprintf("%d / %d", r.Failed, r.Sent)}
	if r.Failed > 0 {
		parts[0] += fmt.Sprintf(" (%.2g %%)", 100*float64(r.Failed)/float64(r.Sent))
	}
	if r.Doubled > 0 {
		parts = append(parts, fmt.Sprintf("%d doubled", r.Doubled))
	}
	for _, name := range sortedKeys(r.Streams) {
		s := r.Streams[name]
		parts = append(parts, fmt.Sprintf("%s: %d of %d handed over", name, s.Clean, s.Clean+s.Broken))
		if s.Gaps > 0 {
			parts = append(parts, fmt.Sprintf("%d with a gap", s.Gaps))
		}
	}
	if killed > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d killed", killed, len(r.Exits)))
	}
	if r.NotSent > 0 {
		parts = append(parts, fmt.Sprintf("%d not sent", r.NotSent))
	}
	return strings.Join(append(parts, fmt.Sprintf("%.1f s", mean)), ", ")
}

// writeMatrix writes the tables of what has been run, as Markdown, and how much
// each way has shown in all.
func writeMatrix(w io.Writer, m matrixConfig, results map[cellKey]StageResult) error {
	byPlace := make(map[[3]string]string)
	type sum struct{ sent, failed, ended int }
	sums := make(map[string]sum)
	var order []string
	for _, c := range m.cells() {
		r, ok := c.result(results)
		if !ok {
			continue
		}
		text := summary(r)
		if len(r.Exits) != c.Terminations {
			text += fmt.Sprintf(", %d endings", len(r.Exits))
		}
		byPlace[[3]string{c.Part, c.Stage, c.Way}] = text
		if s, seen := sums[c.Way]; c.Part == "http1" {
			if !seen {
				order = append(order, c.Way)
			}
			sums[c.Way] = sum{s.sent + r.Sent, s.failed + r.Failed, s.ended + len(r.Exits)}
		}
	}
	for _, p := range m.parts {
		t := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
		fmt.Fprintf(w, "%s (`%s`):\n\n", p.about, p.name)
		fmt.Fprint(t, "|\t")
		for _, way := range p.ways {
			fmt.Fprintf(t, "| %s\t", way.name)
		}
		fmt.Fprint(t, "|\n|---\t"+strings.Repeat("|---\t", len(p.ways))+"|\n")
		for _, sc := range p.stages() {
			fmt.Fprintf(t, "| %s\t", sc)
			for _, way := range p.ways {
				text, ok := byPlace[[3]string{p.name, sc.String(), way.name}]
				if !ok {
					text = "not run"
				}
				fmt.Fprintf(t, "| %s\t", text)
			}
			fmt.Fprint(t, "|\n")
		}
		if err := t.Flush(); err != nil {
			return fmt.Errorf("writing the matrix: %w", err)
		}
		fmt.Fprintln(w)
	}
	for _, name := range order {
		s := sums[name]
		fmt.Fprintf(w, "http1, %s: %d of %d failed in %d endings: %s\n", name, s.failed, s.sent, s.ended, bound(s.failed, s.sent))
	}
	return nil
}

// result is that of the cell, or of the longest run of it with other numbers.
func (c cell) result(results map[cellKey]StageResult) (best StageResult, ok bool) {
	if r, ok := results[c.cellKey]; ok {
		return r, true
	}
	for key, r := range results {
		if key.Part == c.Part && key.Way == c.Way && key.Stage == c.Stage && (!ok || len(r.Exits) > len(best.Exits)) {
			best, ok = r, true
		}
	}
	return best, ok
}

// verdict says what is wrong with the ways that have to lose nothing.
func (m matrixConfig) verdict(results map[cellKey]StageResult) (wrong []string) {
	for _, c := range m.cells() {
		r, ok := c.result(results)
		if !ok || !c.way.keeps {
			continue
		}
		allowed := 0
		if c.part.spared > 0 {
			allowed = (r.Sent + c.part.spared - 1) / c.part.spared
		}
		broken := 0
		for _, s := range r.Streams {
			broken += s.Broken + s.Gaps
		}
		_, ended, why := exitsInTime([]StageResult{r})
		if r.Failed > allowed || r.Doubled > 0 || broken > 0 || !ended {
			wrong = append(wrong, fmt.Sprintf("%s, %s, %s: %s; %s", c.Part, c.Stage, c.Way, summary(r), why))
		}
	}
	return wrong
}
