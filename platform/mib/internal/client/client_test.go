package client

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// A server whose machine is gone says nothing and closes nothing. Whoever follows
// its alerts asks again, and misses none.
func TestSilentServer(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) {
		case 1: // falls silent after an alert
			fmt.Fprint(w, "event: alert\nid: 7\ndata: {\"id\":\"first\"}\n\n")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case 2: // does not even answer
			<-r.Context().Done()
		default:
			if at := r.Header.Get("Last-Event-ID"); at != "7" {
				t.Errorf("asked for what comes after %q", at)
			}
			fmt.Fprint(w, "event: alert\nid: 8\ndata: {\"id\":\"second\"}\n\n")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	err := alerts(ctx, srv.URL, All, time.Second, func(a stream.Alert) {
		if got = append(got, a.ID); len(got) == 2 {
			cancel()
		}
	}, func(gap string) { t.Error("gap:", gap) })
	if err != nil || len(got) != 2 || got[0] != "first" || got[1] != "second" {
		t.Errorf("alerts %q, error %v", got, err)
	}
}
