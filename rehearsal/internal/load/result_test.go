package load

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/evenkeel-dev/evenkeel/rehearsal/internal/report"
)

func TestBinsAndLatency(t *testing.T) {
	at := func(s float64, ms int, c Cause) Record {
		return Record{Start: time.Duration(s * float64(time.Second)), Latency: time.Duration(ms) * time.Millisecond, Cause: c}
	}
	r := &Result{Records: []Record{
		at(0.1, 4, None), at(0.9, 6, None), at(0.999, 5000, Timeout),
		// nothing is due in second 1
		at(2.0, 1, Refused),
		at(3.5, 9, None),
	}}
	want := []report.LoadBin{
		{At: 0, Sent: 3, Failed: 1, P99Ms: 6},
		{At: 1},
		{At: 2, Sent: 1, Failed: 1},
		{At: 3, Sent: 1, P99Ms: 9},
	}
	if got := r.Bins(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := r.Latency(), (report.Quantiles{Count: 3, P50: 6, P99: 9, Max: 9}); got != want {
		t.Errorf("latency: got %+v, want %+v", got, want)
	}
	if got := new(Result).Bins(); len(got) != 0 {
		t.Errorf("an empty run has bins %v", got)
	}
}

func TestRecorderKeepsRecordsInPlace(t *testing.T) {
	var l recorder
	var recs []*Record
	for range 2*blockSize + 5 {
		recs = append(recs, l.add())
	}
	for i, r := range recs { // as answers arrive: long after later ones were added
		r.Start = time.Duration(i)
	}
	for i, r := range l.records() {
		if r.Start != time.Duration(i) {
			t.Fatalf("record %d holds what was written to %d", i, r.Start)
		}
	}
}

func TestReconcile(t *testing.T) {
	ok := Record{Kind: Post, Status: 200}
	reset := Record{Kind: Post, Cause: Reset}
	tests := []struct {
		name     string
		records  []Record
		recorded map[string]int
		want     Verdict
	}{
		{"nothing", nil, nil, Verdict{}},
		{"all well", []Record{ok, {Kind: Get, Status: 200}}, map[string]int{"r-0": 1}, Verdict{Sent: 2}},
		{"answered and not recorded", []Record{ok, ok}, map[string]int{"r-1": 1},
			Verdict{Sent: 2, Failed: 1, FailedByCause: map[string]int{"lost": 1}}},
		{"recorded twice", []Record{ok}, map[string]int{"r-0": 3}, Verdict{Sent: 1, Doubled: 1}},
		{"failed, recorded or not", []Record{reset, reset}, map[string]int{"r-0": 1},
			Verdict{Sent: 2, Failed: 2, FailedByCause: map[string]int{"reset": 2}}},
		{"failed and recorded twice", []Record{reset}, map[string]int{"r-0": 2},
			Verdict{Sent: 1, Failed: 1, FailedByCause: map[string]int{"reset": 1}, Doubled: 1}},
		{"statuses", []Record{{Cause: BadStatus, Status: 503}, {Cause: BadStatus, Status: 404}, {Cause: BadStatus, Status: 503}}, nil,
			Verdict{Sent: 3, Failed: 3, FailedByCause: map[string]int{"status_503": 2, "status_404": 1}}},
		{"every other cause", []Record{{Cause: Refused}, {Cause: EOF}, {Cause: Timeout}, {Cause: BadAnswer}, {Cause: Overload}}, nil,
			Verdict{Sent: 5, Failed: 5, FailedByCause: map[string]int{"refused": 1, "eof": 1, "timeout": 1, "bad_answer": 1, "overload": 1}}},
		{"ids of other runs", []Record{ok}, map[string]int{"r-0": 1, "q-0": 2, "r-1": 2}, Verdict{Sent: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Reconcile(&Result{RunID: "r", Records: tt.records}, tt.recorded)
			failed := 0
			for _, b := range got.Bins {
				failed += b.Failed
			}
			if failed != got.Failed {
				t.Errorf("bins have %d failed, the verdict %d", failed, got.Failed)
			}
			if got.Sent != tt.want.Sent || got.Failed != tt.want.Failed || got.Doubled != tt.want.Doubled ||
				!maps.Equal(got.FailedByCause, tt.want.FailedByCause) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestReadLedger(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
	line := func(id string) string {
		return fmt.Sprintf(`{"ledger":"order","id":%q,"at":%q}`, id, at.Format(time.RFC3339Nano)) + "\n"
	}
	tests := []struct {
		name, in string
		want     []string
	}{
		{"empty", "", nil},
		{"orders", line("a") + line("b") + line("a"), []string{"a", "b", "a"}},
		{"among logs", "starting\n" + line("a") + `{"level":"INFO","msg":"ledger"}` + "\n\n" + line("b"), []string{"a", "b"}},
		{"other ledgers", `{"ledger":"quote","id":"a"}` + "\n" + `{"ledger":"order","id":""}` + "\n", nil},
		{"last line without its end", line("a") + strings.TrimSuffix(line("b"), "\n"), []string{"a", "b"}},
		{"last line cut off", line("a") + line("b")[:20], []string{"a"}},
		{"a line that is too long", line("a") + strings.Repeat("x", 3*maxLine) + line("z") + line("b"), []string{"a", "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for e, err := range ReadLedger(iotest.OneByteReader(strings.NewReader(tt.in)), Orders) {
				if err != nil {
					t.Fatal(err)
				}
				if !e.At.Equal(at) {
					t.Errorf("%s: at %v, want %v", e.ID, e.At, at)
				}
				got = append(got, e.ID)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestReadLedgerStopsAtAnError(t *testing.T) {
	broken := errors.New("broken disk")
	r := io.MultiReader(strings.NewReader(`{"ledger":"order","id":"a","at":"2026-01-02T03:04:05Z"}`+"\n"), iotest.ErrReader(broken))
	var ids []string
	var last error
	for e, err := range ReadLedger(r, Orders) {
		if last = err; err == nil {
			ids = append(ids, e.ID)
		}
	}
	if !slices.Equal(ids, []string{"a"}) || !errors.Is(last, broken) {
		t.Errorf("got %v and %v", ids, last)
	}
}

func FuzzReadLedger(f *testing.F) {
	f.Add([]byte(`{"ledger":"order","id":"a","at":"2026-01-02T03:04:05.6Z"}` + "\n"))
	f.Add([]byte("log\n{\"ledger\":\"order\",\"id\":\"a\"}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		n := 0
		for e, err := range ReadLedger(strings.NewReader(string(in)), Orders) {
			if err != nil {
				t.Fatalf("an error that is not the reader's: %v", err)
			}
			if e.ID == "" {
				t.Error("an order without id")
			}
			n++
		}
		if lines := strings.Count(string(in), "\n") + 1; n > lines {
			t.Errorf("%d orders in %d lines", n, lines)
		}
	})
}
