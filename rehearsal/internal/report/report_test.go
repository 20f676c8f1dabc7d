package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s differs from byte %d on (run with -update to accept): got ...%q", path, at, got[max(0, at-60):min(len(got), at+60)])
	}
}

// lost returns the fixture with evenkeel's part changed, judged again.
func lost(change func(h *report.Handler)) *report.Report {
	r := fixture()
	change(r.Handlers[report.Evenkeel])
	r.Verdict, r.Reasons = report.Judge(r.Handlers)
	return r
}

func failedRun() *report.Report {
	return lost(func(h *report.Handler) {
		h.Requests.Failed, h.Requests.FailedByCause = 1240, map[string]int{"timeout": 1200, "lost": 40}
		h.Nodes.EmptiedBeforeDeadline--
		h.PDBViolations = 1
		h.ControllerRestarts = 2
	})
}

func TestTable(t *testing.T) {
	for name, tt := range map[string]struct {
		report *report.Report
		width  int
		color  bool
	}{
		"pass.txt":   {fixture(), 80, false},
		"color.txt":  {fixture(), 80, true},
		"fail.txt":   {failedRun(), 80, false},
		"narrow.txt": {failedRun(), 50, false},
		"jobs.txt": {lost(func(h *report.Handler) {
			h.LostReadyPodSeconds, h.InherentLostSeconds, h.MinReadyRatio = 21.4, 21.4, 0.5
			h.Jobs = report.Jobs{Units: 6, Done: 6, LeftToFinish: 1, BegunAgain: 1}
		}), 80, false},
	} {
		var b bytes.Buffer
		if err := tt.report.WriteTable(&b, tt.width, tt.color); err != nil {
			t.Fatal(err)
		}
		golden(t, name, b.Bytes())
		if tt.color {
			continue
		}
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}

func TestTableOfOneHandler(t *testing.T) {
	r := fixture()
	delete(r.Handlers, report.None)
	delete(r.Handlers, report.Evenkeel)
	r.Verdict, r.Reasons = report.Judge(r.Handlers)
	var b bytes.Buffer
	if err := r.WriteTable(&b, 0, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "drain.txt", b.Bytes())
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	if err := fixture().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b.Bytes())
	if bytes.Contains(b.Bytes(), []byte("null")) {
		t.Error("report.json has a null")
	}

	// The fields that users read in CI.
	var doc map[string]any
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"verdict", "seed", "trace", "kubernetes_version", "duration_seconds",
		"handlers.evenkeel.requests.sent", "handlers.evenkeel.requests.failed", "handlers.evenkeel.requests.failed_by_cause", "handlers.evenkeel.requests.doubled",
		"handlers.evenkeel.nodes.interrupted", "handlers.evenkeel.nodes.emptied_before_deadline",
		"handlers.evenkeel.notice_to_cordon_seconds.p50", "handlers.evenkeel.notice_to_cordon_seconds.p99", "handlers.evenkeel.notice_to_cordon_seconds.max",
		"handlers.evenkeel.notice_to_empty_seconds.p50", "handlers.evenkeel.lost_ready_pod_seconds", "handlers.evenkeel.min_ready_ratio",
		"handlers.evenkeel.pdb_violations", "handlers.evenkeel.handoffs", "handlers.evenkeel.escalations",
		"handlers.evenkeel.cost.spot", "handlers.evenkeel.cost.on_demand",
	} {
		var at any = doc
		for key := range strings.SplitSeq(path, ".") {
			m, _ := at.(map[string]any)
			at = m[key]
		}
		if at == nil {
			t.Errorf("report.json has no %s", path)
		}
	}
}

func TestJSONOfAnEmptyReport(t *testing.T) {
	var b bytes.Buffer
	r := &report.Report{Handlers: map[string]*report.Handler{"none": {}}}
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "null") {
		t.Errorf("an empty report has a null:\n%s", b.String())
	}
}

func TestHTML(t *testing.T) {
	many := fixture()
	for name, h := range many.Handlers {
		for range 6 { // more nodes than the page draws
			h.Timeline.Nodes = append(h.Timeline.Nodes, fixture().Handlers[name].Timeline.Nodes...)
		}
	}
	hostile := fixture()
	hostile.Scenario = `</style><script>alert("x")</script>`
	hostile.Handlers[report.Evenkeel].Timeline.Pods[0].Name = `"><img src=x onerror=alert(1)>`
	empty := &report.Report{Verdict: report.Fail, Reasons: []string{"No handler was run."}}
	bare := &report.Report{Verdict: report.Fail, Handlers: map[string]*report.Handler{"none": {}}}

	for name, r := range map[string]*report.Report{"pass.html": fixture(), "fail.html": failedRun(), "many": many, "hostile": hostile, "empty": empty, "bare": bare} {
		var b bytes.Buffer
		if err := r.WriteHTML(&b); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".html") {
			golden(t, name, b.Bytes())
		}
		checkPage(t, name, b.Bytes())
	}
}

var void = []string{"meta", "img", "br", "hr", "input", "link"}

// checkPage checks that every element that is opened is closed in its place,
// that ids are unique and references lead somewhere, that nothing is loaded or
// run, and that every picture has a text.
func checkPage(t *testing.T, name string, page []byte) {
	t.Helper()
	if m := regexp.MustCompile(`https?://|@import|url\([^#)]`).Find(page); m != nil {
		t.Errorf("%s: the page refers to something outside: %s", name, m)
	}
	if bytes.Contains(page, []byte("NaN")) || bytes.Contains(page, []byte("%!")) || bytes.Contains(page, []byte("ZgotmplZ")) {
		t.Errorf("%s: the page has a value that could not be written", name)
	}
	var open []string
	ids := map[string]bool{}
	var references []string
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if z.Err() != io.EOF {
				t.Fatalf("%s: %v", name, z.Err())
			}
			break
		}
		token := z.Token()
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			if slices.Contains([]string{"script", "img", "link", "iframe", "object"}, token.Data) {
				t.Errorf("%s: the page has a %s element", name, token.Data)
			}
			labelled := false
			for _, a := range token.Attr {
				switch {
				case a.Key == "id":
					if ids[a.Val] {
						t.Errorf("%s: id %s is there twice", name, a.Val)
					}
					ids[a.Val] = true
				case a.Key == "href":
					references = append(references, strings.TrimPrefix(a.Val, "#"))
				case a.Key == "aria-labelledby":
					references = append(references, strings.Fields(a.Val)...)
					labelled = true
				case a.Key == "aria-hidden":
					labelled = true
				case strings.HasPrefix(a.Key, "on"):
					t.Errorf("%s: the page has a handler %s", name, a.Key)
				}
			}
			hidden := slices.Contains(open, "ul") // legends are hidden as a whole
			if token.Data == "svg" && !labelled && !hidden {
				t.Errorf("%s: an svg has no text: %s", name, token)
			}
			if kind == html.StartTagToken && !slices.Contains(void, token.Data) {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("%s: </%s> closes %v", name, token.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) != 0 {
		t.Errorf("%s: never closed: %v", name, open)
	}
	for _, id := range references {
		if !ids[id] {
			t.Errorf("%s: nothing has the id %q", name, id)
		}
	}
}

func TestJudge(t *testing.T) {
	only := func(name string, h *report.Handler) map[string]*report.Handler {
		return map[string]*report.Handler{name: h}
	}
	clean := func(change func(h *report.Handler)) *report.Handler {
		h := &report.Handler{Requests: report.Requests{Sent: 20000}, Nodes: report.Nodes{Total: 9, Interrupted: 6, EmptiedBeforeDeadline: 6}, MinReadyRatio: 1}
		change(h)
		return h
	}
	nothing := func(*report.Handler) {}
	tests := []struct {
		name     string
		handlers map[string]*report.Handler
		want     string // the first reason; empty for a pass
	}{
		{"nothing lost", only("evenkeel", clean(nothing)), ""},
		{"no handler", nil, "No handler was run."},
		{"failed", only("evenkeel", clean(func(h *report.Handler) {
			h.Requests.Failed, h.Requests.FailedByCause = 1234, map[string]int{"lost": 34, "timeout": 1200}
		})), "With Evenkeel, 1,234 of 20,000 requests failed (timeout 1,200, lost 34)."},
		{"doubled", only("evenkeel", clean(func(h *report.Handler) { h.Requests.Doubled = 1 })), "With Evenkeel, 1 request was done twice."},
		{"capacity", only("evenkeel", clean(func(h *report.Handler) { h.LostReadyPodSeconds = 0.004 })), "With Evenkeel, 0.00 ready-pod-seconds were lost: ready replicas fell below what was asked for."},
		{"not emptied", only("evenkeel", clean(func(h *report.Handler) { h.Nodes.EmptiedBeforeDeadline = 5 })), "With Evenkeel, 1 of 6 interrupted nodes still had pods when their machine went."},
		{"budget", only("evenkeel", clean(func(h *report.Handler) { h.PDBViolations = 3 })), "With Evenkeel, a disruption budget was violated 3 times."},
		{"a StatefulSet's nature", only("evenkeel", clean(func(h *report.Handler) {
			h.LostReadyPodSeconds, h.InherentLostSeconds, h.MinReadyRatio = 20.1, 20.1, 0.5
		})), ""},
		{"more than a StatefulSet's nature", only("evenkeel", clean(func(h *report.Handler) {
			h.LostReadyPodSeconds, h.InherentLostSeconds = 30, 20
		})), "With Evenkeel, 10 ready-pod-seconds were lost: ready replicas fell below what was asked for."},
		{"a Job's unit missing", only("evenkeel", clean(func(h *report.Handler) {
			h.Jobs = report.Jobs{Units: 6, Done: 5, BegunAgain: 1}
		})), "With Evenkeel, 1 of 6 units of Jobs were not done."},
		{"a Job's unit twice", only("evenkeel", clean(func(h *report.Handler) {
			h.Jobs = report.Jobs{Units: 6, Done: 6, Doubled: 1}
		})), "With Evenkeel, 1 unit of Jobs was done twice."},
		{"no load", only("evenkeel", clean(func(h *report.Handler) { h.Requests.Sent = 0 })), "With Evenkeel, no request was sent, so that none could be lost."},
		{"no reclaim", only("evenkeel", clean(func(h *report.Handler) { h.Nodes = report.Nodes{Total: 9} })), "With Evenkeel, no node was interrupted, so that nothing was rehearsed."},
		{"others are there to compare", map[string]*report.Handler{
			"evenkeel": clean(nothing),
			"none":     clean(func(h *report.Handler) { h.Requests.Failed = 99 }),
		}, ""},
		{"others alone count", map[string]*report.Handler{
			"drain": clean(nothing),
			"none":  clean(func(h *report.Handler) { h.Requests.Failed = 99 }),
		}, "Without a handler, 99 of 20,000 requests failed."},
		{"another alone passes", only("drain", clean(nothing)), ""},
	}
	for _, tt := range tests {
		verdict, reasons := report.Judge(tt.handlers)
		if tt.want == "" {
			if verdict != report.Pass || len(reasons) != 0 {
				t.Errorf("%s: %s %v, want a pass", tt.name, verdict, reasons)
			}
			continue
		}
		if verdict != report.Fail || len(reasons) != 1 || reasons[0] != tt.want {
			t.Errorf("%s: %s %q, want fail and %q", tt.name, verdict, reasons, tt.want)
		}
	}
}

func TestScriptedReclaims(t *testing.T) {
	for trace, want := range map[string]string{"": "reclaims as scripted, seed", "generated": "trace generated, seed"} {
		r := fixture()
		r.Trace = trace
		var b bytes.Buffer
		if err := r.WriteTable(&b, 90, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("trace %q: no %q in\n%s", trace, want, b.String())
		}
	}
}
