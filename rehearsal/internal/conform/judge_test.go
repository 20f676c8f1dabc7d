package conform

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// good is the outcome of a stage in which nothing went wrong.
func good(b Balancer) StageResult {
	return StageResult{
		Name: string(b) + " HTTP/1.1, lag 1s, 200/s", Balancer: b, Protocol: "HTTP/1.1", Rate: 200, LagSeconds: 1, Seconds: 10,
		Exits: []Exit{{Copy: 0, Seconds: 2}, {Copy: 1, Code: 143, Seconds: 2.5}},
		Sent:  30000, Answered: 30000, InFlight: 9, Recorded: true,
		LatencyMs: report.Quantiles{Count: 30000, P50: 12, P99: 80, Max: 90},
	}
}

// TestOnlyGRPC judges a service that no balancer of layer 7 was in front of.
func TestOnlyGRPC(t *testing.T) {
	c := Config{Level: C5, OnlyGRPC: true, Rates: []float64{100}, Lags: []time.Duration{time.Second}}
	r := Report{Level: C5}
	for _, sc := range c.stages() {
		if sc.protocol != grpc || sc.balancer != L4 {
			t.Errorf("stage %s", sc)
		}
		s := good(L4)
		s.Notice = sc.notice
		if sc.streams == sc.notice {
			t.Errorf("stage %s: streams %v", sc, sc.streams)
		}
		if sc.streams {
			s.Streams = map[string]StreamResult{"gRPC": {Clean: 4, Resumed: 4}}
		}
		r.Stages = append(r.Stages, s)
	}
	if r.judge(); !r.Pass {
		t.Errorf("levels %+v", r.Levels)
	}
	c.NoStreams = true
	for _, only := range []bool{true, false} {
		c.OnlyGRPC, c.GRPC = only, true
		for _, sc := range c.stages() {
			if sc.streams {
				t.Errorf("without streams: stage %s has some", sc)
			}
		}
	}
	r.Stages[0].Streams, r.Levels, r.NoStreams = nil, nil, true
	if r.judge(); !r.Pass || r.Levels[C4].Tested {
		t.Errorf("without streams: levels %+v", r.Levels)
	}
	r.Stages[0].Failed, r.Levels = 1, nil
	if r.judge(); r.Pass || r.Levels[C2].Pass || !r.Levels[C1].Pass {
		t.Errorf("with a call that failed: levels %+v", r.Levels)
	}
}

// TestNoRequests judges a worker by its endings alone.
func TestNoRequests(t *testing.T) {
	c := Config{Level: C5, NoRequests: true, Rates: []float64{100, 200}, Lags: []time.Duration{time.Second}}
	r := Report{Level: C5, NoRequests: true}
	for _, sc := range c.stages() {
		r.Stages = append(r.Stages, StageResult{Name: sc.String(), Balancer: L4, Notice: sc.notice, Exits: []Exit{{Seconds: 2}}})
	}
	if r.judge(); !r.Pass || len(r.Stages) != 2 || r.Levels[C3].Tested || !r.Levels[C5].Tested {
		t.Errorf("stages %v, levels %+v", r.Stages, r.Levels)
	}
	r.Stages[1].Exits[0].Killed, r.Levels = true, nil
	if r.judge(); r.Pass || r.Levels[C5].Pass {
		t.Errorf("when the notice is ignored: levels %+v", r.Levels)
	}
}

func TestLevels(t *testing.T) {
	type change func(l7, l4, notice *StageResult)
	for _, tt := range []struct {
		name   string
		change change
		want   string // one letter per level: pass, FAIL or not tested
	}{
		{"nothing wrong", func(_, _, _ *StageResult) {}, "pppppp"},
		{"killed at the end of the grace period", func(_, l4, _ *StageResult) { l4.Exits[0].Killed = true }, "Fppppp"},
		{"killed by somebody else", func(_, l4, _ *StageResult) { l4.Exits[0].Code = 137 }, "Fppppp"},
		{"ended too early", func(l7, _, _ *StageResult) { l7.Exits[0].Unexpected = true }, "Fppppp"},
		{"request in flight cut on layer 7", func(l7, _, _ *StageResult) { l7.Failed, l7.Cut = 1, 1 }, "pFFppp"},
		{"later request failed on layer 4", func(_, l4, _ *StageResult) { l4.Failed, l4.Later = 1, 1 }, "pppFpp"},
		{"doubled", func(_, l4, _ *StageResult) { l4.Doubled = 1 }, "pppFpp"},
		{"nothing in flight", func(l7, l4, _ *StageResult) { l7.InFlight, l4.InFlight = 0, 0 }, "p?pppp"},
		{"stream broken", func(_, l4, _ *StageResult) { l4.Streams["SSE"] = StreamResult{Clean: 3, Broken: 1} }, "ppppFp"},
		{"stream with a gap", func(_, l4, _ *StageResult) { l4.Streams["SSE"] = StreamResult{Clean: 3, Gaps: 1} }, "ppppFp"},
		{"no stream", func(_, l4, _ *StageResult) { l4.Streams = nil }, "pppp?p"},
		{"notice ignored", func(_, _, n *StageResult) { n.Exits[0].Killed = true }, "pppppF"},
		{"lost at a notice", func(_, _, n *StageResult) { n.Failed = 1 }, "pppppF"},
		{"machine too small", func(_, l4, _ *StageResult) { l4.NotSent = 1 }, "pFFFFF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l7, l4, notice := good(L7), good(L4), good(L4)
			l4.Streams = map[string]StreamResult{"SSE": {Clean: 4, Resumed: 4}}
			notice.Notice = true
			tt.change(&l7, &l4, &notice)
			r := Report{Level: C5, Stages: []StageResult{l7, l4, notice}}
			r.judge()
			var got strings.Builder
			for _, l := range r.Levels {
				got.WriteByte(l.verdict()[0])
			}
			if got := strings.ReplaceAll(got.String(), "N", "?"); got != tt.want {
				t.Errorf("levels %s, want %s", got, tt.want)
			}
			if want := tt.want == "pppppp"; r.Pass != want {
				t.Errorf("pass %v, want %v", r.Pass, want)
			}
		})
	}
}

// What a run shows: none of n is not zero.
func TestBound(t *testing.T) {
	for _, tt := range []struct {
		failed, sent int
		want         string
	}{
		{0, 100000, "below 0.003 % (95 %)"},
		{0, 300, "below 1 % (95 %)"},
		{5, 1000, "0.5 %"},
		{0, 0, "nothing was sent"},
	} {
		if got := bound(tt.failed, tt.sent); got != tt.want {
			t.Errorf("%d of %d: %q, want %q", tt.failed, tt.sent, got, tt.want)
		}
	}
}

func TestOutput(t *testing.T) {
	l7, l4 := good(L7), good(L4)
	l4.Failed, l4.Answered, l4.Cut, l4.Later = 3, 29997, 2, 1
	l4.Causes = map[string]int{"cut off": 2, "refused": 1}
	l4.Streams = map[string]StreamResult{"SSE": {Clean: 1, Broken: 2, Causes: map[string]int{"cut off": 2}, Resumed: 3}}
	r := &Report{
		Command: []string{"./service", "--port", "{port}"}, Level: C4, GraceSeconds: 30,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Stages: []StageResult{l7, l4},
	}
	r.judge()
	for _, format := range outputs {
		t.Run(format, func(t *testing.T) {
			var got bytes.Buffer
			if err := r.write(&got, format); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "report."+format)
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs (run with -update to accept):\n%s", golden, got.Bytes())
			}
		})
	}
}
