package conform

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The short form of the matrix: the same programs and the same judgement, with one
// termination and a few requests for each cell. What it shows is that the matrix
// works; what the ways cost is in docs/guides/conformance.md.
func TestMatrix(t *testing.T) {
	dir := t.TempDir()
	m := matrixConfig{
		parts: parts(), terminations: 1, requests: 150, capacity: 600, seed: 1,
		self: []string{os.Args[0], "sample", "--sleep", "1s"}, results: filepath.Join(dir, "results"),
		wrapper: buildWrapper(t, dir), // before anything else runs: runs end by killing what is left of children
	}
	t.Parallel()
	m.parts = slices.DeleteFunc(m.parts, func(p part) bool { return !slices.Contains([]string{"http1", "h2c-replay", "grpc"}, p.name) })
	for i := range m.parts {
		p := &m.parts[i]
		p.lags, p.rates = []time.Duration{500 * time.Millisecond}, []float64{150}
		p.ways = slices.DeleteFunc(slices.Clone(p.ways), func(w way) bool { return !w.keeps && w.name != exitWay.name })
	}
	var log bytes.Buffer
	m.log = &log
	results, err := runMatrix(t.Context(), m)
	t.Logf("%s", &log)
	if err != nil {
		t.Fatal(err)
	}
	cells := m.cells()
	if len(results) != len(cells) || len(cells) != 10 {
		t.Errorf("%d results for %d cells, want 10", len(results), len(cells))
	}
	if wrong := m.verdict(results); len(wrong) > 0 {
		t.Errorf("ways that have to lose nothing:\n%s", strings.Join(wrong, "\n"))
	}
	for _, c := range cells {
		if r := results[c.cellKey]; c.way.name == exitWay.name && r.Failed == 0 {
			t.Errorf("%s, %s: a service that just exits loses nothing: the test is blind", c.Part, c.Stage)
		}
	}

	// An interrupted run goes on with what is missing, and with the line that a
	// crash cut off.
	text, err := os.ReadFile(m.results)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.results, text[:len(text)-20], 0o644); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	if again, err := runMatrix(t.Context(), m); err != nil || len(again) != len(cells) {
		t.Errorf("going on: %d results, %v", len(again), err)
	}
	if !strings.Contains(log.String(), "10 cells, 9 of them done") {
		t.Errorf("going on:\n%s", &log)
	}
}

// The matrix says what each cell and each way has shown, and what was not run.
func TestMatrixTable(t *testing.T) {
	m := matrixConfig{parts: []part{{
		name: "http1", about: "Some requests",
		conditions: conditions{balancers: []Balancer{L4}, protocol: http1, lags: []time.Duration{time.Second}, rates: []float64{400}},
		ways:       []way{exitWay, libraryWay, proxyWay},
	}}, terminations: 30, requests: 100_000, wrapper: "evenkeel-run"}
	cells := m.cells()
	if n := [2]int{cells[0].Terminations, cells[1].Terminations}; n != [2]int{10, 30} {
		t.Errorf("terminations %v", n)
	}
	bad, ok := good(L4), good(L4)
	bad.Failed, bad.Doubled, bad.Exits[0].Killed = 300, 2, true
	ok.Streams = map[string]StreamResult{"SSE": {Clean: 20, Resumed: 20}}
	bad.Exits = slices.Repeat(bad.Exits, 5)
	shorter := cells[1].cellKey // a run with fewer endings stands in for one that was not run
	shorter.Terminations = 2
	results := map[cellKey]StageResult{cells[0].cellKey: bad, shorter: ok}
	var got bytes.Buffer
	if err := writeMatrix(&got, m, results); err != nil {
		t.Fatal(err)
	}
	want := "Some requests (`http1`):\n\n" +
		"|                            | exit                                                   | library                                            | wrapper, child exits |\n" +
		"|---                         |---                                                     |---                                                 |---                   |\n" +
		"| L4 HTTP/1.1, lag 1s, 400/s | 300 / 30000 (1 %), 2 doubled, 5 of 10 killed, 2.2 s     | 0 / 30000, SSE: 20 of 20 handed over, 2.2 s, 2 endings | not run              |\n"
	if squeeze(got.String()) != squeeze(want+"\nhttp1, exit: 300 of 30000 failed in 10 endings: 1 %\nhttp1, library: 0 of 30000 failed in 2 endings: below 0.01 % (95 %)\n") {
		t.Errorf("got\n%s", &got)
	}
	if wrong := m.verdict(results); len(wrong) != 0 {
		t.Errorf("wrong: %v", wrong)
	}
	for name, change := range map[string]func(*StageResult){
		"a request failed": func(r *StageResult) { r.Failed = 1 },
		"killed":           func(r *StageResult) { r.Exits = []Exit{{Killed: true}} },
		"stream broken":    func(r *StageResult) { r.Streams = map[string]StreamResult{"SSE": {Broken: 1}} },
	} {
		r := good(L4)
		change(&r)
		results[cells[1].cellKey] = r
		if len(m.verdict(results)) != 1 {
			t.Errorf("%s: nothing is wrong with it", name)
		}
	}
}

// squeeze makes one of many spaces and dashes.
func squeeze(s string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(s, "-", "")), " ")
}
