package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// brain is a gateway with everything behind it in one place, which can be made to
// fail its clients.
type brain struct {
	mu     sync.Mutex
	state  *analytics.State
	known  map[string]bool
	alerts []stream.Alert
	posts  int
	asks   int

	loses, doubles int // the alert of that number is lost, or comes twice; 0 for none
	forgets        bool
}

func (b *brain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r.URL.Path {
	case "/v1/ticks":
		if b.posts++; b.posts%100 == 1 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		data, _ := io.ReadAll(r.Body)
		t, err := stream.DecodeTick(data)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if !b.known[t.ID] {
			b.known[t.ID] = true
			for _, a := range b.state.Step(t) {
				b.alerts = append(b.alerts, a)
				switch len(b.alerts) {
				case b.loses:
					b.alerts[len(b.alerts)-1].Feed = "lost"
				case b.doubles:
					b.alerts = append(b.alerts, a)
				}
			}
		}
		if b.posts%100 == 2 {
			panic(http.ErrAbortHandler) // it is done, and nobody hears of it
		}
		w.WriteHeader(http.StatusCreated)
	case "/v1/alerts":
		after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		for i := after + 1; i < len(b.alerts); i++ {
			data, _ := json.Marshal(b.alerts[i])
			fmt.Fprintf(w, "event: alert\nid: %d\nretry: 10\ndata: %s\n\n", i, data)
		}
	case "/v1/ask":
		b.asks++
		fmt.Fprintf(w, `{"passages":[{"text":"wells","n":%t}]}`, b.forgets && b.asks > 1)
	}
}

func TestAnalyst(t *testing.T) {
	for _, tt := range []struct {
		name  string
		brain *brain
		code  int
		says  string
	}{
		{"all is well", &brain{}, 0, `"wrong":0`},
		{"an alert is lost", &brain{loses: 2}, 1, "lost alert: "},
		{"an alert comes twice", &brain{doubles: 2}, 1, "alert came 2 times: "},
		{"a replica answers otherwise", &brain{forgets: true}, 1, "the same question is answered otherwise"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := tt.brain
			b.state, b.known, b.alerts = analytics.NewState(), make(map[string]bool), make([]stream.Alert, 1)
			s := httptest.NewServer(b)
			defer s.Close()
			var out, errs strings.Builder
			code := run(t.Context(), []string{"--gateway=" + s.URL, "--unit=job/0", "--over=2s", "--wait=3s", "--feeds=2", "--from=2020-03-01", "--to=2020-05-01"},
				func(string) string { return "" }, &out, &errs)
			if code != tt.code || !strings.Contains(errs.String(), tt.says) {
				t.Errorf("code %d, want %d and %q:\n%s", code, tt.code, tt.says, &errs)
			}
			if want := `{"id":"job/0","ledger":"unit"}` + "\n"; (out.String() == want) != (tt.code == 0) {
				t.Errorf("wrote %q", &out)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	none := func(string) string { return "" }
	for _, args := range [][]string{{}, {"--gateway=x"}, {"--gateway=x", "--unit=u", "more"}, {"--gateway=x", "--unit=u", "--from=then"}, {"--gateway=x", "--unit=u", "--from=2021-01-01"}} {
		if code := run(t.Context(), args, none, io.Discard, io.Discard); code != 2 {
			t.Errorf("%v: %d", args, code)
		}
	}
	if code := run(t.Context(), []string{"--help"}, none, io.Discard, io.Discard); code != 0 {
		t.Error("--help:", code)
	}
}
