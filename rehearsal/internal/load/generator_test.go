package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestArrivals(t *testing.T) {
	cfg := Config{Rate: 200, Seed: 7}.withDefaults()
	draw := func(cfg Config) []arrival {
		s := newArrivals(cfg)
		out := make([]arrival, 20000)
		for i := range out {
			out[i] = s.arrival()
		}
		return out
	}
	as := draw(cfg)
	if !reflect.DeepEqual(as, draw(cfg)) {
		t.Error("the same seed draws other requests")
	}
	other := cfg
	other.Seed++
	if reflect.DeepEqual(as, draw(other)) {
		t.Error("another seed draws the same requests")
	}

	// Exponential gaps: mean 1/rate, and a standard deviation equal to it.
	var sum, squares, posts, fresh, last float64
	for _, a := range as {
		gap := a.at.Seconds() - last
		last = a.at.Seconds()
		sum, squares = sum+gap, squares+gap*gap
		if a.kind == Post {
			posts++
		}
		if a.newConn {
			fresh++
		}
	}
	n := float64(len(as))
	mean := sum / n
	deviation := math.Sqrt(squares/n - mean*mean)
	for _, q := range []struct {
		name      string
		got, want float64
	}{
		{"mean gap", mean, 1.0 / 200},
		{"deviation of gaps", deviation, 1.0 / 200},
		{"share of POSTs", posts / n, 0.3},
		{"share of new connections", fresh / n, 0.2},
	} {
		if math.Abs(q.got/q.want-1) > 0.05 {
			t.Errorf("%s is %v, want about %v", q.name, q.got, q.want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	c := Config{PostShare: -1, NewConnShare: 1}.withDefaults()
	if c.PostShare != 0 || c.NewConnShare != 1 {
		t.Errorf("got shares %v and %v", c.PostShare, c.NewConnShare)
	}
}

func TestRunRefusesBadConfig(t *testing.T) {
	for _, c := range []Config{
		{Target: "127.0.0.1:80", Rate: 1},
		{Target: "https://127.0.0.1", Rate: 1},
		{Target: "http://127.0.0.1"},
	} {
		if err := New(c).Run(t.Context()); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// engine is the service under load; record says how often an order is recorded.
type engine struct {
	mu       sync.Mutex
	ledger   strings.Builder
	requests int
	record   func(n int) (times int)
}

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests++
	switch {
	case r.Method == "GET" && r.URL.Path == "/v1/quote" && r.FormValue("symbol") != "":
		io.WriteString(w, `{"price":1}`)
	case r.Method == "POST" && r.URL.Path == "/v1/orders":
		var o order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.ID == "" || o.Symbol == "" || o.Quantity < 1 {
			http.Error(w, "no order", http.StatusBadRequest)
			return
		}
		for range e.record(e.requests) {
			fmt.Fprintf(&e.ledger, `{"ledger":"order","id":%q,"at":%q}`+"\n", o.ID, time.Now().Format(time.RFC3339Nano))
		}
		json.NewEncoder(w).Encode(map[string]string{"id": o.ID})
	default:
		http.NotFound(w, r)
	}
}

func (e *engine) recorded(t *testing.T) map[string]int {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	m := make(map[string]int)
	for entry, err := range ReadLedger(strings.NewReader(e.ledger.String()), Orders) {
		if err != nil {
			t.Fatal(err)
		}
		m[entry.ID]++
	}
	return m
}

func TestRunAgainstAnEngine(t *testing.T) {
	tests := []struct {
		name   string
		record func(n int) int
		check  func(t *testing.T, posts int, v Verdict)
	}{
		{"sound", func(int) int { return 1 }, func(t *testing.T, _ int, v Verdict) {
			if v.Failed != 0 || v.Doubled != 0 {
				t.Errorf("got %d failed by %v and %d doubled", v.Failed, v.FailedByCause, v.Doubled)
			}
		}},
		{"records twice", func(int) int { return 2 }, func(t *testing.T, posts int, v Verdict) {
			if v.Failed != 0 || v.Doubled != posts {
				t.Errorf("got %d failed and %d doubled, want none and %d", v.Failed, v.Doubled, posts)
			}
		}},
		{"answers without recording", func(int) int { return 0 }, func(t *testing.T, posts int, v Verdict) {
			if v.Failed != posts || v.FailedByCause["lost"] != posts || v.Doubled != 0 {
				t.Errorf("got %d failed by %v, want %d lost", v.Failed, v.FailedByCause, posts)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := &engine{record: tt.record}
			srv := httptest.NewServer(e)
			defer srv.Close()
			g := New(Config{Target: srv.URL, Rate: 2000, Seed: 1, RunID: "r"})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				for g.Live().Answered < 500 && ctx.Err() == nil {
					<-time.After(time.Millisecond)
				}
				cancel()
			}()
			if err := g.Run(ctx); err != nil {
				t.Fatal(err)
			}
			res, live := g.Result(), g.Live()
			posts := 0
			for i, r := range res.Records {
				if r.Kind == Post {
					posts++
				}
				if r.Cause != None || r.Status != 200 || r.Latency <= 0 || i > 0 && r.Start < res.Records[i-1].Start {
					t.Fatalf("record %d: %+v", i, r)
				}
			}
			if n := int64(len(res.Records)); live != (Counters{Sent: n, Answered: n}) || int64(e.requests) != n || posts == 0 {
				t.Errorf("%d records, %d posts, %d requests served, counters %+v", n, posts, e.requests, live)
			}
			v := Reconcile(res, e.recorded(t))
			if v.Sent != len(res.Records) {
				t.Errorf("the verdict has %d requests of %d", v.Sent, len(res.Records))
			}
			tt.check(t, posts, v)
		})
	}
}

// inMemory runs a server inside a synctest bubble, where time passes only when
// all wait.
func inMemory(t *testing.T, h http.Handler) dialFunc {
	conns := make(chan net.Conn)
	srv := &http.Server{Handler: h}
	go srv.Serve(&listener{conns: conns, done: make(chan struct{})})
	t.Cleanup(func() { srv.Close() })
	return func(time.Time) (net.Conn, error) {
		near, far := net.Pipe()
		conns <- far
		return near, nil
	}
}

type listener struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// A service that stalls gets no relief: requests keep arriving at their rate,
// and each that waited has the whole wait in its latency.
func TestOpenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stall = 3 * time.Second
		start := time.Now()
		g := New(Config{Target: "http://engine", Rate: 100, PostShare: -1, Seed: 3})
		g.dial = inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Until(start.Add(stall))) // all that arrive before wait for it
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		res := g.Result()
		for i, r := range res.Records {
			if want := max(stall-r.Start, 0); r.Cause != None || r.Latency != want {
				t.Fatalf("request %d was due at %v: latency %v and cause %d, want %v and none", i, r.Start, r.Latency, r.Cause, want)
			}
		}
		if n := len(res.Records); n < 500 || n > 700 {
			t.Errorf("%d requests arrived in 6 s, want about 600", n)
		}
		if res.Lag != 0 {
			t.Errorf("lag %v, although time stood still", res.Lag)
		}
		for _, b := range res.Bins() {
			if b.Sent < 60 || b.Failed != 0 || (b.P99Ms > 0) != (b.At < stall.Seconds()) {
				t.Errorf("bin %+v", b)
			}
		}
	})
}

func TestHangingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		g := New(Config{Target: "http://engine", Rate: 100, Timeout: 2 * time.Second, MaxInFlight: 50, Seed: 3})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		g.dial = inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done() // the client has left
		}))
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("Run took %v, want at most the second it had and the timeout", took)
		}
		v := Reconcile(g.Result(), nil)
		if v.FailedByCause["timeout"] != 50 || v.FailedByCause["overload"] != v.Sent-50 || v.Failed != v.Sent {
			t.Errorf("%d sent, failed by %v; want 50 timeouts and the rest overload", v.Sent, v.FailedByCause)
		}
		for i, r := range g.Result().Records {
			if r.Cause == Timeout && r.Latency != 2*time.Second {
				t.Errorf("request %d timed out after %v", i, r.Latency)
			}
		}
		if c := g.Live(); c.InFlight != 0 || c.Failed != int64(v.Sent) {
			t.Errorf("counters %+v", c)
		}
	})
}
