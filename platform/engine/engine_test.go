package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// writes remembers each call of Write.
type writes struct {
	mu    sync.Mutex
	calls []string
	err   error
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.calls = append(w.calls, string(p))
	return len(p), nil
}

func do(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

func TestQuote(t *testing.T) {
	one, two := newEngine(7, io.Discard), newEngine(7, io.Discard)
	if err := one.warm(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, symbol := range []string{"WTI", "NEVERHEARD"} {
		a := do(one.routes(), "GET", "/v1/quote?symbol="+symbol, "")
		b := do(two.routes(), "GET", "/v1/quote?symbol="+symbol, "") // not warmed up
		if a.Code != 200 || a.Body.String() != b.Body.String() {
			t.Errorf("%s: replicas differ: %d %s %s", symbol, a.Code, a.Body, b.Body)
		}
	}
	other := do(newEngine(8, io.Discard).routes(), "GET", "/v1/quote?symbol=WTI", "")
	if other.Body.String() == do(one.routes(), "GET", "/v1/quote?symbol=WTI", "").Body.String() {
		t.Error("the seed changes nothing")
	}
	if w := do(one.routes(), "GET", "/v1/quote?symbol=w%20ti", ""); w.Code != 400 || !strings.Contains(w.Body.String(), `"field":"symbol"`) {
		t.Errorf("bad symbol: %d %s", w.Code, w.Body)
	}
}

func TestEMA(t *testing.T) {
	e := newEMA(3, 10) // alpha 1/2
	for _, x := range []float64{20, 20, 40} {
		e.add(x)
	}
	if math.Abs(e.value-28.75) > 1e-12 { // 10, 15, 17.5, 28.75
		t.Errorf("got %v", e.value)
	}
}

func TestOrderIsRecordedBeforeItIsAnswered(t *testing.T) {
	var ledger writes
	e := newEngine(1, &ledger)
	e.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }
	for i := range 2 { // the second is a double, and has to show
		w := do(e.routes(), "POST", "/v1/orders", `{"id":"a-1","symbol":"WTI","quantity":5}`)
		var r receipt
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != 200 || r.ID != "a-1" || r.Count != int64(i+1) {
			t.Errorf("answer %d %s: %v", w.Code, w.Body, err)
		}
	}
	want := `{"ledger":"order","id":"a-1","symbol":"WTI","at":"2026-01-02T03:04:05.000000006Z"}` + "\n"
	if fmt.Sprint(ledger.calls) != fmt.Sprint([]string{want, want}) {
		t.Errorf("ledger %q", ledger.calls)
	}

	ledger.err = errors.New("broken pipe")
	if w := do(e.routes(), "POST", "/v1/orders", `{"id":"a-2","symbol":"WTI","quantity":5}`); w.Code != 500 {
		t.Errorf("an order that was not recorded was answered with %d", w.Code)
	}
}

// A ledger in a file is gone on with by the next engine, and has one writer.
func TestLedgerInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "volume", "ledger")
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range int64(3) {
		l, file, err := openLedger(path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := l.record(order{ID: "a", Symbol: "WTI"}, at); n != i+1 || err != nil {
			t.Errorf("order %d: it is number %d, %v", i+1, n, err)
		}
		if _, _, err := openLedger(path); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second writer: %v", err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil || bytes.Count(data, []byte(`{"ledger":"order"`)) != 3 {
		t.Errorf("%v\n%s", err, data)
	}
}

func TestOrderIsChecked(t *testing.T) {
	e := newEngine(1, io.Discard)
	for body, want := range map[string]int{
		"":                              400,
		`{`:                             400,
		`{"symbol":"WTI","quantity":1}`: 400,
		`{"id":"a","quantity":1}`:       400,
		`{"id":"a","symbol":"WTI"}`:     400,
		`{"id":"a","symbol":"WTI","quantity":-1}`:       400,
		`{"id":"` + strings.Repeat("a", maxBody) + `"}`: 413,
	} {
		if w := do(e.routes(), "POST", "/v1/orders", body); w.Code != want {
			t.Errorf("%.60s: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestWarmTakesAsLongAsItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(1, io.Discard)
		begun := time.Now()
		if err := e.warm(t.Context(), 5*time.Second); err != nil || time.Since(begun) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.warm(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a start that was given up: %v", err)
		}
	})
}

func TestServiceTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		work := newServiceTime(1)
		for range 100 {
			begun := time.Now()
			work(t.Context())
			if d := time.Since(begun); d < time.Millisecond || d >= 15*time.Millisecond {
				t.Fatalf("took %s", d)
			}
		}
	})
}

// The whole program: it becomes ready, records, and ends with 0.
func TestRun(t *testing.T) {
	t.Setenv("EVENKEEL_GRACE_SECONDS", "10")
	addr, health := freeAddr(t), freeAddr(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var ledger, log bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--listen", addr, "--health-listen", health, "--warmup", "50ms"}, &ledger, &log)
	}()
	awaitReady(t, health)
	resp, err := http.Post("http://"+addr+"/v1/orders", "application/json", strings.NewReader(`{"id":"a","symbol":"WTI","quantity":1}`))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("order: %v %v", resp, err)
	}
	resp.Body.Close()
	stop()
	select {
	case c := <-code:
		if c != 0 || !strings.HasPrefix(ledger.String(), `{"ledger":"order","id":"a",`) || !strings.Contains(log.String(), `"cut":0`) {
			t.Errorf("exit code %d, ledger %s, log %s", c, &ledger, &log)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("hung")
	}
}

func TestUsage(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, io.Discard, &out); code != 0 || !strings.Contains(out.String(), "-warmup duration") {
		t.Errorf("--help: %d %s", code, &out)
	}
	for _, args := range [][]string{{"--nonsense"}, {"argument"}} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func awaitReady(t *testing.T, health string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get("http://" + health + "/readyz"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
	}
}
