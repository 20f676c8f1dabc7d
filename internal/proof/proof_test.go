package proof_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/cluster"
	"github.com/evenkeel-dev/evenkeel/internal/drain"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
	"github.com/evenkeel-dev/evenkeel/internal/proof"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

// record is of a notice that was sent at noon and stored a little later.
func record(instance string, emptied float64) drain.Record {
	r := drain.Record{
		Notice: interruption.Notice{
			ID: "m-" + instance, Cloud: interruption.AWS, Instance: interruption.InstanceID(instance), Kind: interruption.SpotInterruption,
			Action: "terminate", Deadline: at(120), Sent: noon, Seen: at(0.2),
		},
		Deadline: at(120), Stored: at(0.3), Cordoned: true,
	}
	if emptied > 0 {
		r.Emptied = at(emptied)
	}
	return r
}

func event(k drain.EventKind, when float64, why drain.Reason, r drain.Record) drain.Event {
	return drain.Event{Kind: k, At: at(when), Node: "n-" + string(r.Notice.Instance), Pool: "engine", Zone: "us-east-1a", Record: r, Reason: why}
}

func pod(when float64, r drain.Record, name string, effect drain.Kind, why drain.Reason, o drain.Outcome, budget string) drain.Event {
	e := event(drain.EventPod, when, why, r)
	e.Pod, e.Service, e.Effect, e.Outcome, e.Budget = cluster.Key{Namespace: "shop", Name: name}, "Deployment/web", effect, o, budget
	return e
}

func left(e drain.Event, pods int, lost float64) drain.Event { e.Left, e.Lost = pods, lost; return e }

// lives are interruptions as they go by.
func lives() []drain.Event {
	a, b, c := record("i-a", 0), record("i-b", 0), record("i-c", 0)
	return []drain.Event{
		event(drain.EventNoticed, 0.5, drain.NoticeReceived, a),
		event(drain.EventNoticed, 0.9, drain.NoticeReceived, b),
		event(drain.EventNoticed, 0.6, drain.RecordFound, c),
		pod(1, a, "web-1", drain.Handoff, drain.HandOff, drain.Done, ""),
		pod(10, a, "web-1", drain.Evict, drain.ReplacementReady, drain.Done, ""),
		event(drain.EventEmptied, 14, drain.NodeEmptied, record("i-a", 14)),
		pod(1, b, "db-0", drain.Evict, drain.NoDeployment, drain.Blocked, "db"),
		pod(88, b, "db-0", drain.Delete, drain.BudgetAtLatest, drain.Done, ""),
		left(event(drain.EventMissed, 120, drain.PastDeadline, b), 1, 30),
		event(drain.EventCancelled, 30, drain.RecordRemoved, c),
		event(drain.EventClosed, 125, drain.NodeGone, record("i-a", 14)),
		left(event(drain.EventClosed, 126, drain.NodeGone, b), 0, 32.5),
		pod(127, b, "db-0", drain.Evict, drain.NotReady, drain.Done, ""), // too late to matter
	}
}

func play(l *proof.Ledger, events []drain.Event) (out []proof.Line) {
	for _, e := range events {
		if line := l.Add(e); line != nil {
			out = append(out, *line)
		}
	}
	return out
}

func encode(lines []proof.Line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.Write(l.Encode())
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; go test -update writes it anew. Got\n%s", path, got)
	}
}

func TestLedger(t *testing.T) {
	l := proof.NewLedger("production")
	golden(t, "lines.jsonl", encode(play(l, lives())))
	if rest := l.Unfinished(); len(rest) != 0 {
		t.Errorf("%d interruptions are still open", len(rest))
	}
}

// TestRestart ends the process at every point. What comes out after Merge is the
// same as without, if the first process could say what it knew; if it was killed,
// only what the Record tells is left, and the line says so.
func TestRestart(t *testing.T) {
	events := lives()
	want := proof.Merge(play(proof.NewLedger("production"), events))
	resumed := func(e drain.Event) drain.Event {
		e.Kind, e.Reason = drain.EventNoticed, drain.Resumed
		return e
	}
	for cut := 1; cut < len(events)-1; cut++ {
		first, second := proof.NewLedger("production"), proof.NewLedger("production")
		lines := play(first, events[:cut])
		ended := make(map[string]bool)
		for _, l := range lines {
			ended[l.Interruption] = true
		}
		known := make(map[string]drain.Event)
		for _, e := range events[:cut] {
			known[e.Record.ID()] = e
		}
		var after []proof.Line
		for _, e := range known {
			if !ended[e.Record.ID()] {
				after = append(after, play(second, []drain.Event{resumed(e)})...)
			}
		}
		after = append(after, play(second, events[cut:])...)

		graceful := proof.Merge(slices.Concat(lines, first.Unfinished(), after))
		killed := proof.Merge(slices.Concat(lines, after))
		if len(graceful) != len(want) || len(killed) != len(want) {
			t.Fatalf("cut at %d: %d and %d interruptions, want %d", cut, len(graceful), len(killed), len(want))
		}
		for i, w := range want {
			g, k := graceful[i], killed[i]
			g.Steps = slices.DeleteFunc(g.Steps, func(s proof.Step) bool { return s.Reason == drain.Resumed })
			if !bytes.Equal(g.Encode(), w.Encode()) {
				t.Errorf("cut at %d, stopped in order:\ngot  %swant %s", cut, g.Encode(), w.Encode())
			}
			if k.Outcome != w.Outcome || !k.Emptied.Equal(w.Emptied) || k.Notice.ID != w.Notice.ID {
				t.Errorf("cut at %d, killed: outcome %s, emptied %v; want %s, %v", cut, k.Outcome, k.Emptied, w.Outcome, w.Emptied)
			}
			if lacks := len(k.Steps) < len(w.Steps); lacks && k.ResumedAt.IsZero() {
				t.Errorf("cut at %d, killed: steps are lacking, and the line does not say why", cut)
			}
		}
	}
}

func TestReadSkipsOtherLines(t *testing.T) {
	lines := play(proof.NewLedger(""), lives())
	text := "{\"level\":\"INFO\",\"msg\":\"starting\"}\nplain text\n\n" + strings.Repeat("x", 5<<20) + "\n" + string(encode(lines))
	text = strings.TrimSuffix(text, "\n") // the last line may lack its end
	var got []proof.Line
	skipped, err := proof.Read(strings.NewReader(text), func(l proof.Line) { got = append(got, l) })
	if err != nil || skipped != 3 {
		t.Errorf("skipped %d, want 3; %v", skipped, err)
	}
	if !bytes.Equal(encode(got), encode(lines)) {
		t.Errorf("read\n%s\nwant\n%s", encode(got), encode(lines))
	}
}

func TestDecodeErrors(t *testing.T) {
	for line, want := range map[string]string{
		`{"form":"evenkeel-interruption/9"}`:                                                              "this release reads",
		`{"form":"evenkeel-interruption/1","outcome":"lucky"}`:                                            "unknown outcome",
		`{"form":"evenkeel-interruption/1","outcome":"gone"}`:                                             "must be set",
		`{"form":"evenkeel-interruption/1","outcome":"gone","steps":5}`:                                   "decoding a line",
		`{"form":"evenkeel-interruption/1","outcome":"gone","interruption":"i","node":"n","podsLeft":-1}`: "negative",
	} {
		if _, err := proof.Decode([]byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

func TestSummary(t *testing.T) {
	s := proof.Summarize(play(proof.NewLedger(""), lives()))
	if s.Interruptions != 3 || s.InTime != 1 || s.Of != 2 || s.Lost != 32.5 || s.Resumed != 0 {
		t.Errorf("%+v", s)
	}
	if s.Cordon != (proof.Quantiles{Count: 3, P50: 0.6, P99: 0.9, Max: 0.9}) || s.Empty != (proof.Quantiles{Count: 1, P50: 14, P99: 14, Max: 14}) {
		t.Errorf("cordon %+v, empty %+v", s.Cordon, s.Empty)
	}
	if s.Pods["handoff"] != 1 || s.Pods["delete"] != 1 || s.Pods["evict"] != 0 || s.Escalations[drain.BudgetAtLatest] != 1 || s.Budgets["shop/db"] != 1 {
		t.Errorf("pods %v, escalations %v, budgets %v", s.Pods, s.Escalations, s.Budgets)
	}
}

// TestSteps: an interruption with endless trouble has a line of bounded length.
func TestSteps(t *testing.T) {
	l := proof.NewLedger("")
	r := record("i-a", 0)
	l.Add(event(drain.EventNoticed, 0.5, drain.NoticeReceived, r))
	for i := range 5000 {
		l.Add(pod(float64(i), r, "web-1", drain.Evict, drain.NotReady, drain.Blocked, "shop/web"))
	}
	line := l.Add(event(drain.EventClosed, 6000, drain.NodeGone, r))
	if len(line.Steps) != proof.MaxSteps || line.Omitted != 5002-proof.MaxSteps {
		t.Errorf("%d steps, %d omitted", len(line.Steps), line.Omitted)
	}
}

// FuzzDecode: what is decoded can be written and decoded again, to the same line.
func FuzzDecode(f *testing.F) {
	for _, l := range play(proof.NewLedger("production"), lives()) {
		f.Add(l.Encode())
	}
	f.Add([]byte(`{"form":"evenkeel-interruption/1","outcome":"gone","interruption":"i","node":"n","steps":[{"at":"0001-01-01T00:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := proof.Decode(data)
		if err != nil {
			return
		}
		first := l.Encode()
		again, err := proof.Decode(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if !bytes.Equal(again.Encode(), first) {
			t.Errorf("%s became %s", first, again.Encode())
		}
		merged := proof.Merge([]proof.Line{l, l})
		if len(merged) != 1 {
			t.Errorf("merged into %d", len(merged))
		}
		proof.Summarize(merged)
		if _, err := json.Marshal(proof.Spans(merged)); err != nil {
			t.Errorf("as spans: %v", err)
		}
	})
}

// TestSpans: the same interruptions as traces, in which each span is within its
// parent, and which are the same each time.
func TestSpans(t *testing.T) {
	lines := play(proof.NewLedger("production"), lives())
	data, err := json.MarshalIndent(proof.Spans(lines), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "spans.json", append(data, '\n'))

	var out struct {
		ResourceSpans []struct {
			ScopeSpans []struct {
				Spans []struct{ TraceID, SpanID, ParentSpanID, Name, StartTimeUnixNano, EndTimeUnixNano string }
			}
		}
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, r := range out.ResourceSpans {
		spans := r.ScopeSpans[0].Spans
		root := spans[0]
		if root.ParentSpanID != "" || len(root.TraceID) != 32 {
			t.Errorf("%+v is no root", root)
		}
		for _, s := range spans {
			switch {
			case len(s.SpanID) != 16 || seen[s.SpanID]:
				t.Errorf("span %+v: no ID, or one that is there twice", s)
			case s.TraceID != root.TraceID || s != root && s.ParentSpanID != root.SpanID:
				t.Errorf("span %+v is not of trace %+v", s, root)
			case s.StartTimeUnixNano < root.StartTimeUnixNano || s.EndTimeUnixNano > root.EndTimeUnixNano || s.EndTimeUnixNano < s.StartTimeUnixNano:
				t.Errorf("span %+v is not within %+v", s, root)
			}
			seen[s.SpanID] = true
		}
	}
	if len(out.ResourceSpans) != len(lines) {
		t.Errorf("%d traces of %d interruptions", len(out.ResourceSpans), len(lines))
	}
	if empty, err := json.Marshal(proof.Spans(nil)); err != nil || string(empty) != `{"resourceSpans":[]}` {
		t.Errorf("of nothing: %s, %v", empty, err)
	}
}
