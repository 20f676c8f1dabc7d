package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/conform/sample"
)

// TestMain makes the test binary the sample service when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "sample" {
		cmd := newSampleCommand()
		cmd.SetArgs(os.Args[2:])
		if err := cmd.Execute(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	// A race-enabled program sleeps for a second before it exits. Copies must not.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// short is a run that is over in seconds. What it shows is that the test works, not
// that a service loses nothing: for that, see the guide.
func short(command ...string) Config {
	return Config{
		Command: command, Level: C3, Terminations: 1, Requests: 150, Rates: []float64{150},
		Lags: []time.Duration{500 * time.Millisecond}, Grace: 12 * time.Second, Post: "/orders",
		Seed: 1, Streams: 10, StartLimit: 30 * time.Second,
	}
}

func sampleCommand(end sample.End) []string {
	return []string{os.Args[0], "sample", "--end", string(end), "--sleep", "1s"}
}

func run(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	_ = r.write(&text, "table")
	t.Log(text.String())
	return r
}

func level(r *Report, l Level) LevelResult { return r.Levels[l] }

// The library reaches every level, over everything that the test speaks.
func TestLibrary(t *testing.T) {
	t.Parallel()
	c := short(sampleCommand(sample.Library)...)
	c.Level, c.H2C, c.GRPC, c.SSE, c.WebSocket = C5, true, true, "/events", "/ws"
	c.Replay = true // without it about one POST in 50,000 fails by the rules of HTTP/2
	r := run(t, c)
	for _, l := range r.Levels {
		if l.Tested && !l.Pass {
			t.Errorf("%s: %s", l.Level, l.Why)
		}
	}
	for _, l := range []Level{C0, C2, C3, C4, C5} {
		if !level(r, l).Tested {
			t.Errorf("%s was not tested: %s", l, level(r, l).Why)
		}
	}
}

// A service that exits at once loses requests, and the test sees it: it is not the
// service that passes because the test is blind.
func TestExitFails(t *testing.T) {
	t.Parallel()
	c := short(sampleCommand(sample.Exit)...)
	c.Level, c.SSE, c.WebSocket = C4, "/events", "/ws"
	r := run(t, c)
	if !level(r, C0).Pass {
		t.Errorf("C0: %s", level(r, C0).Why)
	}
	for _, l := range []Level{C2, C3, C4} {
		if level(r, l).Pass {
			t.Errorf("%s is reached by a service that just exits: %s", l, level(r, l).Why)
		}
	}
}

// A service that does not know the notice is killed at the deadline.
func TestNoticeIgnored(t *testing.T) {
	t.Parallel()
	c := short(sampleCommand(sample.Shutdown)...)
	c.Grace, c.Level = time.Second, C5
	if r := run(t, c); level(r, C5).Pass {
		t.Errorf("C5: %s", level(r, C5).Why)
	}
}

func TestCannotBeTested(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"no such program": {"/does/not/exist"},
		"ends at once":    {"false"},
		"never ready":     {"sleep", "60"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := short(command...)
			c.StartLimit = 300 * time.Millisecond
			if _, err := Run(t.Context(), c); !errors.Is(err, ErrCommand) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("wrong path", func(t *testing.T) {
		t.Parallel()
		c := short(sampleCommand(sample.Exit)...)
		c.Get = "/nowhere"
		if _, err := Run(t.Context(), c); !errors.Is(err, ErrCommand) || !strings.Contains(err.Error(), "404") {
			t.Errorf("got %v", err)
		}
	})
}

// Whoever interrupts a run finds no process left, not even of copies that had
// children of their own.
func TestInterrupted(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	script := fmt.Sprintf(`echo $$ >>%s; setsid sleep 300 & echo $! >>%s; exec %s sample --end exit`, pids, pids, os.Args[0])
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := short("sh", "-c", script)
	c.Progress = func(p Progress) {
		if p.Sent > 0 {
			cancel()
		}
	}
	if _, err := Run(ctx, c); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	list, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(list))
	if len(fields) < 6 {
		t.Fatalf("%d processes were started, want 3 copies with 2 each", len(fields))
	}
	for _, pid := range fields {
		if status, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(status), ") Z ") {
			t.Errorf("process %s lives on: %s", pid, status)
		}
	}
}

func TestCommandLine(t *testing.T) {
	usage, failed := errors.New("usage"), errors.New("failed")
	for _, tt := range []struct {
		args []string
		hint string
	}{
		{[]string{}, "put it after --"},
		{[]string{"--level", "C9", "--", "x"}, "C0 to C5"},
		{[]string{"--rate", "fast", "--", "x"}, "--rate"},
		{[]string{"--rate", "0", "--", "x"}, "--rate"},
		{[]string{"--copies", "1", "--", "x"}, "at least 2"},
		{[]string{"--grace", "1ms", "--", "x"}, "--grace"},
		{[]string{"--lag", "-1s", "--", "x"}, "--lag"},
		{[]string{"-o", "yaml", "--", "x"}, "table, json, junit"},
		{[]string{"--only-grpc", "--sse", "/events", "--", "x"}, "--only-grpc"},
		{[]string{"--no-streams", "--sse", "/events", "--", "x"}, "--no-streams"},
		{[]string{"--no-requests", "--grpc", "--ready-path", "/readyz", "--", "x"}, "contradicts"},
		{[]string{"--no-requests", "--", "x"}, "--ready-path"},
		{[]string{"--matrix", "results", "--", "x"}, "leave the command away"},
		{[]string{"--matrix", "results", "--parts", "http9"}, "http1"},
		{[]string{"--matrix", "results", "--way", "explode"}, "http.Server.Shutdown"},
		{[]string{"--matrix", "results", "--layer", "L5"}, "L7"},
	} {
		var out, talk bytes.Buffer
		cmd := NewCommand(CommandConfig{Out: &out, Err: &talk, Failed: failed, Usage: func(err error) error { return fmt.Errorf("%w: %w", usage, err) }})
		cmd.SetArgs(tt.args)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); !errors.Is(err, usage) || !strings.Contains(err.Error(), tt.hint) {
			t.Errorf("%v: got %v, want a hint at %q", tt.args, err, tt.hint)
		}
	}
}

// TestWorker ends processes that serve nobody. The address that says that they are ready
// is somebody else's here: what counts is when they end.
func TestWorker(t *testing.T) {
	t.Parallel()
	ready := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(ready.Close) // when the parallel ones are over, too
	for _, tt := range []struct {
		name, script string
		level        Level
		pass         bool
	}{
		{"ends by SIGTERM", "trap 'exit 0' TERM; while :; do sleep 0.02; done", C3, true},
		{"ends by a notice, too", `trap 'exit 0' TERM; while [ ! -s "$EVENKEEL_DEADLINE_FILE" ]; do sleep 0.02; done`, C5, true},
		{"does not listen to notices", "trap 'exit 0' TERM; while :; do sleep 0.02; done", C5, false},
		{"does not listen at all", "trap '' TERM; while :; do sleep 0.02; done", C3, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := short("sh", "-c", tt.script)
			c.Level, c.NoRequests, c.Ready, c.Grace = tt.level, true, ready.URL, time.Second
			r := run(t, c)
			if r.Pass != tt.pass || r.Stages[0].Sent != 0 {
				t.Errorf("stages %+v, levels %+v", r.Stages, r.Levels)
			}
			for _, l := range r.Levels {
				if asked := l.Level == C0 || l.Level == C5; l.Tested != asked {
					t.Errorf("level %+v", l)
				}
			}
		})
	}
}

// A copy that ends before it is ready, because somebody else has its port, is
// started again with another one.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	taken := filepath.Join(t.TempDir(), "taken")
	c := short("sh", "-c", fmt.Sprintf("if mkdir %s 2>/dev/null; then exit 1; fi; exec %s sample --end exit", taken, os.Args[0]))
	c.Level, c.Requests = C0, 1
	if r := run(t, c); !r.Pass {
		t.Errorf("levels %+v", r.Levels)
	}
}

// build compiles a program of this repository.
func build(t *testing.T, dir, name, pkg string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if text, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", pkg, err, text)
	}
	return path
}

func buildWrapper(t *testing.T, dir string) string {
	return build(t, dir, "evenkeel-run", "github.com/evenkeel-dev/evenkeel/cmd/evenkeel-run")
}

// The services of examples/conform reach the levels that their guide says.
func TestExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs services of other languages")
	}
	dir, err := filepath.Abs("../../../examples/conform")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	wrapper := buildWrapper(t, bin)
	need := func(t *testing.T, program string) string {
		t.Helper()
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skipf("%s is not installed here", program)
		}
		return path
	}
	check := func(t *testing.T, c Config) {
		t.Helper()
		t.Parallel()
		for _, l := range run(t, c).Levels {
			if l.Tested && !l.Pass {
				t.Errorf("%s: %s", l.Level, l.Why)
			}
		}
	}
	wrapped := func(args ...string) []string {
		return append([]string{wrapper, "--listen", "127.0.0.1:{port}", "--health", ""}, args...)
	}
	rust := func(t *testing.T) string {
		rustc := need(t, "rustc")
		path := filepath.Join(bin, "rust")
		if text, err := exec.Command(rustc, "-O", "-o", path, filepath.Join(dir, "rust", "server.rs")).CombinedOutput(); err != nil {
			t.Fatalf("building the Rust service: %v\n%s", err, text)
		}
		return path
	}

	t.Run("go with the library", func(t *testing.T) {
		c := short(build(t, bin, "go", "github.com/evenkeel-dev/evenkeel/examples/conform/go"))
		c.Level, c.SSE = C5, "/events"
		check(t, c)
	})
	t.Run("python behind the wrapper", func(t *testing.T) {
		check(t, short(wrapped("--", need(t, "python3"), filepath.Join(dir, "python", "server.py"))...))
	})
	t.Run("python by itself", func(t *testing.T) { // for the contrast
		t.Parallel()
		if r := run(t, short(need(t, "python3"), filepath.Join(dir, "python", "server.py"))); level(r, C2).Pass || level(r, C3).Pass {
			t.Error("it loses nothing: the test is blind")
		}
	})
	t.Run("rust by itself", func(t *testing.T) { check(t, short(rust(t))) })
	t.Run("rust behind the wrapper", func(t *testing.T) { check(t, short(wrapped("--", rust(t), "--naive")...)) })
	t.Run("nginx behind the wrapper", func(t *testing.T) {
		if _, err := os.Stat("/usr/sbin/nginx"); err != nil { // where Debian has it, often outside PATH
			need(t, "nginx")
		}
		c := short(wrapped("--stop-signal", "QUIT", "--", "sh", filepath.Join(dir, "nginx", "run.sh"))...)
		c.Post = ""
		check(t, c)
	})
}
