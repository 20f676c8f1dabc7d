package lifecycle

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The record names at most 100 of the requests that were cut, the oldest first,
// and the termination log gets a line that Kubernetes will not cut.
func TestCutRecordIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(name, []byte("earlier words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		const requests = 300
		var record bytes.Buffer
		l := New(Options{Grace: 2 * time.Second, CutRecord: &record, TerminationLog: name})
		_, done := start(t.Context(), l)
		release := make(chan struct{})
		for i := range requests {
			r, _ := http.NewRequest("POST", fmt.Sprintf("http://x/v1/%d", i), nil)
			r.Header.Set("X-Request-Id", strings.Repeat("\x00ü", 5000)+fmt.Sprint(i)) // a stranger's
			go l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })).ServeHTTP(httptest.NewRecorder(), r)
			time.Sleep(time.Millisecond)
		}
		l.OnSave(func(context.Context) error { return nil })
		l.Drain()
		<-done
		for _, tt := range []struct {
			what   string
			data   []byte
			length int
			listed int
		}{
			{"record", record.Bytes(), 1 << 20, maxCutListed},
			{"termination log", must(os.ReadFile(name))[len("earlier words\n"):], maxTermination, 0},
		} {
			var r cutRecord
			if err := json.Unmarshal(tt.data, &r); err != nil || bytes.Count(tt.data, []byte("\n")) != 1 {
				t.Fatalf("%s: %q: %v", tt.what, tt.data, err)
			}
			if len(tt.data) > tt.length || r.Cut != requests || len(r.Requests) == 0 || tt.listed > 0 && len(r.Requests) != tt.listed {
				t.Errorf("%s: %d bytes, %d cut, %d listed", tt.what, len(tt.data), r.Cut, len(r.Requests))
			}
			for i := 1; i < len(r.Requests); i++ {
				if r.Requests[i].AgeSeconds > r.Requests[i-1].AgeSeconds {
					t.Errorf("%s: request %d is older than the one before", tt.what, i)
				}
			}
		}
		close(release)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A process that loses nothing says so.
func TestCutRecordOfNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), "termination-log")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{TerminationLog: name})
		_, done := start(t.Context(), l)
		for range 7 {
			serveOne(l, func(http.ResponseWriter, *http.Request) {})
		}
		l.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		line := must(os.ReadFile(name))
		for _, want := range []string{`"lifecycle":"cut"`, `"cut":0`, `"finished":7`, `"saved":true`, `"trigger":"call"`} {
			if !bytes.Contains(line, []byte(want)) {
				t.Errorf("no %s in %s", want, line)
			}
		}
	})
}

// A writer that blocks does not keep the process, and a log that cannot be
// written does not fail it.
func TestCutRecordBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(blocked)
		l := New(Options{Grace: 5 * time.Second, CutRecord: release, TerminationLog: "/dev/null/nothing"})
		_, done := start(t.Context(), l)
		begun := time.Now()
		l.Drain()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if took := time.Since(begun); took >= 5*time.Second {
			t.Errorf("took %s", took)
		}
		close(release)
	})
}

type blocked chan struct{}

func (b blocked) Write(p []byte) (int, error) { <-b; return len(p), nil }

func TestRoute(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/users/{id}/orders", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("api.example.com/", func(http.ResponseWriter, *http.Request) {})
	withMux := New(Options{})
	withMux.Handler(mux)
	bare := New(Options{})
	own := New(Options{Route: func(r *http.Request) string { return r.Method + " of " + r.Host }})
	broken := New(Options{Route: func(*http.Request) string { panic("boom") }})
	for _, tt := range []struct {
		l                        *Lifecycle
		method, host, path, want string
	}{
		{withMux, "POST", "x", "/v1/users/bob@example.com/orders", "/v1/users/{id}/orders"},
		{withMux, "GET", "api.example.com", "/secret", "api.example.com/"},
		{withMux, "GET", "x", "/nowhere/secret", "/nowhere/..."},
		{bare, "GET", "x", "/v1/users/bob", "/v1/..."},
		{bare, "GET", "x", "/healthz", "/healthz"},
		{bare, "GET", "x", "/v1/", "/v1/"},
		{bare, "OPTIONS", "x", "*", "*"},
		{bare, "CONNECT", "x", "", ""},
		{own, "GET", "x", "/", "GET of x"},
		{broken, "GET", "x", "/", "unknown"},
	} {
		if got := tt.l.route(tt.method, tt.host, tt.path); got != tt.want {
			t.Errorf("%s %s%s: %q, want %q", tt.method, tt.host, tt.path, got, tt.want)
		}
	}
}

func FuzzTraceID(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings")
	f.Fuzz(func(t *testing.T, header string) {
		id := traceID(header)
		if id == "" {
			return
		}
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || !strings.Contains(header, "-"+id+"-") {
			t.Errorf("%q in %q", id, header)
		}
	})
}
