package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const goodOrder = `{"id":"a-1","symbol":"WTI","quantity":5}`

// start serves a gateway in front of an engine.
func start(t *testing.T, engine http.Handler) (gatewayURL string) {
	t.Helper()
	upstream := httptest.NewServer(engine)
	t.Cleanup(upstream.Close)
	return startAt(t, upstream.URL)
}

func startAt(t *testing.T, engineURL string) (gatewayURL string) {
	t.Helper()
	g, err := newGateway(engineURL, 2*time.Second, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(g.routes())
	t.Cleanup(func() {
		srv.Close()
		g.transport.CloseIdleConnections()
	})
	return srv.URL
}

type answer struct {
	code      int
	header    http.Header
	body      string
	Error     problem
	RequestID string `json:"request_id"`
}

func send(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{code: resp.StatusCode, header: resp.Header, body: string(data)}
	if a.code >= 400 {
		if err := json.Unmarshal(data, &a); err != nil {
			t.Errorf("%s %s: answer %q: %v", method, url, data, err)
		}
	}
	return a
}

func TestPass(t *testing.T) {
	var got *http.Request
	var body []byte
	url := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Secret", "internal")
		w.WriteHeader(202)
		_, _ = io.WriteString(w, `{"id":"a-1"}`)
	}))

	a := send(t, "POST", url+"/v1/orders", goodOrder, "X-Request-Id", "r-1", "Idempotency-Key", "k", "Cookie", "c=1", "Traceparent", "00-1-2-3")
	if a.code != 202 || a.body != `{"id":"a-1"}` || a.header.Get("X-Request-Id") != "r-1" || a.header.Get("X-Secret") != "" {
		t.Errorf("answer %+v", a)
	}
	if string(body) != goodOrder || got.Header.Get("X-Request-Id") != "r-1" || got.Header.Get("Traceparent") != "00-1-2-3" {
		t.Errorf("engine got %q, %v", body, got.Header)
	}
	// With the key, http.Transport would send the POST again after a lost answer.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key", "Cookie"} {
		if got.Header.Get(name) != "" {
			t.Errorf("%s went to the engine", name)
		}
	}

	a = send(t, "GET", url+"/v1/quote?symbol=WTI&evil=%26symbol=X", "", "X-Request-Id", "not printable\t")
	if a.code != 202 || got.URL.RequestURI() != "/v1/quote?symbol=WTI" {
		t.Errorf("engine got %s", got.URL.RequestURI())
	}
	if id := a.header.Get("X-Request-Id"); len(id) < 20 || id != got.Header.Get("X-Request-Id") {
		t.Errorf("request id %q", id)
	}
}

// An engine that takes an order and dies without an answer: the worst moment for
// a retry. The connection comes from the pool, for which http.Transport may
// repeat requests.
func TestPostIsNeverDoubled(t *testing.T) {
	var taken atomic.Int64
	url := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			return // leaves a connection in the pool
		}
		taken.Add(1)
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		c.Close()
	}))
	for _, header := range [][]string{nil, {"Idempotency-Key", "k"}, {"X-Idempotency-Key", "k"}} {
		taken.Store(0)
		if a := send(t, "GET", url+"/v1/quote?symbol=WTI", ""); a.code != 200 {
			t.Fatalf("quote: %+v", a)
		}
		a := send(t, "POST", url+"/v1/orders", goodOrder, header...)
		if a.code != 502 || a.Error.Code != "engine_broke_off" || taken.Load() != 1 {
			t.Errorf("%v: taken %d times, answer %+v", header, taken.Load(), a)
		}
	}
}

func TestEngineFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + ln.Addr().String()
	ln.Close()
	a := send(t, "POST", startAt(t, nobody)+"/v1/orders", goodOrder, "X-Request-Id", "r-1")
	if a.code != 503 || a.Error.Code != "engine_unavailable" || a.RequestID != "r-1" || a.header.Get("Retry-After") == "" {
		t.Errorf("nobody listens: %+v", a)
	}

	release := make(chan struct{})
	slow := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))
	if a := send(t, "GET", slow+"/v1/quote?symbol=WTI", ""); a.code != 504 || a.Error.Code != "engine_timeout" {
		t.Errorf("slow: %+v", a)
	}
	close(release)

	half := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	}))
	if a := send(t, "GET", half+"/v1/quote?symbol=WTI", ""); a.code != 502 {
		t.Errorf("half an answer: %+v", a)
	}

	refuses := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		_, _ = io.WriteString(w, `{"error":{"code":"not_recorded"}}`)
	}))
	if a := send(t, "POST", refuses+"/v1/orders", goodOrder); a.code != 500 || a.Error.Code != "not_recorded" {
		t.Errorf("the engine's own error: %+v", a)
	}
}

func TestBadInput(t *testing.T) {
	var asked atomic.Int64
	url := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	for _, tt := range []struct {
		body, code, field string
		status            int
	}{
		{``, "invalid_body", "", 400},
		{`[]`, "invalid_body", "", 400},
		{`{"id":`, "invalid_body", "", 400},
		{goodOrder + goodOrder, "invalid_body", "", 400},
		{`{}`, "invalid_field", "id", 400},
		{`{"id":"","symbol":"WTI","quantity":5}`, "invalid_field", "id", 400},
		{`{"id":"a b","symbol":"WTI","quantity":5}`, "invalid_field", "id", 400},
		{`{"id":7,"symbol":"WTI","quantity":5}`, "invalid_field", "id", 400},
		{`{"id":"` + strings.Repeat("a", 129) + `","symbol":"WTI","quantity":5}`, "invalid_field", "id", 400},
		{`{"id":"a","quantity":5}`, "invalid_field", "symbol", 400},
		{`{"id":"a","symbol":"wti","quantity":5}`, "invalid_field", "symbol", 400},
		{`{"id":"a","symbol":"WTI"}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":null}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":"5"}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":1.5}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":0}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":1000001}`, "invalid_field", "quantity", 400},
		{`{"id":"a","symbol":"WTI","quantity":5,"price":1}`, "invalid_field", "price", 400},
		{`{"id":"` + strings.Repeat("a", maxBody) + `"}`, "body_too_large", "", 413},
	} {
		a := send(t, "POST", url+"/v1/orders", tt.body)
		if a.code != tt.status || a.Error.Code != tt.code || a.Error.Field != tt.field || a.Error.Message == "" {
			t.Errorf("%.60s: %d %+v", tt.body, a.code, a.Error)
		}
	}
	if a := send(t, "POST", url+"/v1/orders", goodOrder, "Content-Type", "text/plain"); a.code != 415 {
		t.Errorf("text/plain: %+v", a)
	}
	for _, query := range []string{"", "?symbol=", "?symbol=a%00", "?symbol=ABCDEFGHIJKLMNOPQ"} {
		if a := send(t, "GET", url+"/v1/quote"+query, ""); a.code != 400 || a.Error.Field != "symbol" {
			t.Errorf("%q: %+v", query, a)
		}
	}
	if asked.Load() != 0 {
		t.Errorf("%d bad requests reached the engine", asked.Load())
	}
}

func FuzzParseOrder(f *testing.F) {
	f.Add([]byte(goodOrder))
	f.Add([]byte(`{"id":1}`))
	f.Add([]byte(`{"ID":"a","symbol":"W","quantity":1e2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		o, p := parseOrder(body)
		if p != nil {
			if p.status < 400 || p.Message == "" || o != (order{}) {
				t.Errorf("problem %+v with order %+v", p, o)
			}
			return
		}
		encoded, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if again, p := parseOrder(encoded); p != nil || again != o {
			t.Errorf("%+v became %+v, %+v", o, again, p)
		}
	})
}

// The whole program ends with 0.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--engine", "http://127.0.0.1:1"}, &log)
	}()
	stop()
	select {
	case c := <-code:
		if c != 0 || !strings.Contains(log.String(), `"cut":0`) {
			t.Errorf("exit code %d, log %s", c, &log)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("hung")
	}
}

func TestUsage(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, &out); code != 0 || !strings.Contains(out.String(), "-engine URL") {
		t.Errorf("--help: %d %s", code, &out)
	}
	for _, args := range [][]string{{}, {"--engine", "localhost:8080"}, {"--engine", "http://a", "x"}, {"--engine", "http://a", "--timeout", "0s"}} {
		out.Reset()
		if code := run(t.Context(), args, &out); code != 2 || !strings.Contains(out.String(), "gateway --help") {
			t.Errorf("%q: exit code %d, %s", args, code, &out)
		}
	}
}
