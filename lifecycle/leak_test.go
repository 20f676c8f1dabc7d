package lifecycle_test

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// Everything that one process may use at once leaves no goroutine behind.
func TestRunLeavesNothingBehind(t *testing.T) {
	ours := func() string {
		buf := make([]byte, 1<<20)
		var out []string
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "evenkeel/lifecycle.") && !strings.Contains(g, "lifecycle.TestMain") {
				out = append(out, g)
			}
		}
		return strings.Join(out, "\n\n")
	}
	// Other tests leave handlers behind that ignore everything, for a moment.
	until(t, "a quiet beginning", func() bool { return ours() == "" })
	total := runtime.NumGoroutine()

	l := lifecycle.New(lifecycle.Options{
		Addr: freeAddr(t), Control: "unix:" + filepath.Join(t.TempDir(), "c"), Grace: 10 * time.Second, PropagationFloor: -1,
		DeadlineFile: filepath.Join(t.TempDir(), "deadline"), CutRecord: io.Discard, TerminationLog: "none",
		Trace: func(ctx context.Context, _ string) (context.Context, func(lifecycle.Reason)) {
			return ctx, func(lifecycle.Reason) {}
		},
	})
	opened, streaming := make(chan struct{}, 1), make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle("/chat", webSocketHandler(t, opened))
	mux.Handle("/", webSocketHandler(t, opened))
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		ctx, done := l.Stream(r.Context())
		defer done()
		_ = http.NewResponseController(w).Flush()
		close(streaming)
		<-ctx.Done()
	})
	l.OnStart(func(context.Context) error { return nil })
	l.OnSave(func(context.Context) error { return nil })
	l.OnFlush(func(context.Context) error { return nil })
	forEver := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	l.Consumer("consumer", forEver).Job("pool", forEver).Job("sink", forEver, "pool")
	ln := listen(t)
	done := run(t, l.HTTPListener(&http.Server{Handler: mux}, ln))

	ws, br := dialWebSocket(t, ln.Addr().String())
	defer ws.Close()
	wait(t, "the WebSocket", opened)
	go func() {
		_, _, _ = lastFrame(br)
		ws.Close()
	}()
	transport := &http.Transport{}
	go func() {
		resp, err := (&http.Client{Transport: transport}).Get("http://" + ln.Addr().String() + "/events")
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}()
	wait(t, "the stream", streaming)
	l.Drain()
	if err := wait(t, "the ending", done); err != nil {
		t.Errorf("Run: %v", err)
	}
	transport.CloseIdleConnections()
	// The runtime keeps one goroutine for signals.
	for deadline := time.Now().Add(hung); ours() != "" || runtime.NumGoroutine() > total+1; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines instead of %d:\n%s", runtime.NumGoroutine(), total, ours())
		}
	}
}
