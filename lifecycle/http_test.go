package lifecycle_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// hung is how long a test waits for what must happen at all.
const hung = 30 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// freeAddr returns an address on which nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

// run starts l and returns the channel that receives the error of Run.
func run(t *testing.T, l *lifecycle.Lifecycle) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- l.Run(context.WithoutCancel(t.Context())) }()
	return done
}

func wait[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(hung):
		t.Fatalf("hung: %s", what)
		panic("unreachable")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hung); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("hung: %s", what)
		}
	}
}

// balancer is a layer 4 balancer as kube-proxy is one: it chooses a backend for
// each new connection, learns late who is gone, and never touches a connection
// that is open.
type balancer struct {
	backends atomic.Pointer[[]string]
	next     atomic.Int64
}

func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	backends := *b.backends.Load()
	return new(net.Dialer).DialContext(ctx, network, backends[int(b.next.Add(1))%len(backends)])
}

// Clients send POSTs at several hundred a second, on keep-alive connections, on
// new ones and over h2c, while one of two processes ends. Each of these requests
// must be answered. Over HTTP/1.1 nobody may repeat them; over h2c the client may
// repeat what a GOAWAY says was not begun, for which it needs the body again: a
// GOAWAY and a request can pass each other on the wire.
func TestDrainLosesNothing(t *testing.T) {
	const (
		rate = 400 // requests per second
		lag  = 500 * time.Millisecond
	)
	type process struct {
		l      *lifecycle.Lifecycle
		addr   string
		health string
		done   <-chan error
		served atomic.Int64
		late   atomic.Int64 // served after the ending began
	}
	start := func() *process {
		p := &process{health: freeAddr(t)}
		p.l = lifecycle.New(lifecycle.Options{Addr: p.health, Grace: 10 * time.Second, PropagationFloor: time.Second})
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.served.Add(1)
			if p.l.Phase() >= lifecycle.Unready {
				p.late.Add(1)
			}
			body, _ := io.ReadAll(r.Body)
			time.Sleep(time.Duration(1+rand.IntN(10)) * time.Millisecond)
			_, _ = w.Write(body)
		})}
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetHTTP1(true)
		srv.Protocols.SetUnencryptedHTTP2(true)
		ln := listen(t)
		p.addr = ln.Addr().String()
		p.done = run(t, p.l.HTTPListener(srv, ln))
		return p
	}
	leaving, staying := start(), start()

	lb := &balancer{}
	lb.backends.Store(&[]string{leaving.addr, staying.addr})
	keepAlive := &http.Transport{DialContext: lb.dial, MaxIdleConnsPerHost: 1000}
	newEach := &http.Transport{DialContext: lb.dial, DisableKeepAlives: true}
	h2c := &http.Transport{DialContext: lb.dial, Protocols: new(http.Protocols)}
	h2c.Protocols.SetUnencryptedHTTP2(true)
	clients := []*http.Client{{Transport: keepAlive, Timeout: hung}, {Transport: newEach, Timeout: hung}, {Transport: h2c, Timeout: hung}}

	var sent, failed atomic.Int64
	var inFlight sync.WaitGroup
	post := func() {
		n := sent.Add(1)
		id := fmt.Sprint("order-", n)
		req, _ := http.NewRequest("POST", "http://service/orders", bytes.NewBufferString(id))
		client := clients[n%3]
		if client.Transport != h2c {
			req.GetBody = nil // the client cannot repeat the request behind our back
		}
		resp, err := client.Do(req)
		if err != nil {
			failed.Add(1)
			t.Errorf("%s: %v", id, err)
			return
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != id || resp.StatusCode != 200 {
			failed.Add(1)
			t.Errorf("%s: %d %q %v", id, resp.StatusCode, body, err)
		}
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				inFlight.Go(post) // open loop: arrivals do not wait for answers
			case <-stop:
				return
			}
		}
	})

	until(t, "traffic to both", func() bool { return leaving.served.Load() > 200 && staying.served.Load() > 200 })
	begun := time.Now()
	leaving.l.Drain()
	until(t, "/readyz to turn red", func() bool { return get(t, "http://"+leaving.health+"/readyz") == 503 })
	if code := get(t, "http://"+leaving.health+"/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}
	time.AfterFunc(lag, func() { lb.backends.Store(&[]string{staying.addr}) })

	if err := wait(t, "the ending", leaving.done); err != nil {
		t.Errorf("Run: %v", err)
	}
	took := time.Since(begun)
	after := staying.served.Load()
	until(t, "traffic to the one that stays", func() bool { return staying.served.Load() > after+200 })
	close(stop)
	load.Wait()
	inFlight.Wait()
	keepAlive.CloseIdleConnections()
	h2c.CloseIdleConnections()

	staying.l.Drain()
	if err := wait(t, "the second ending", staying.done); err != nil {
		t.Errorf("Run: %v", err)
	}
	if leaving.late.Load() < 10 {
		t.Error("hardly a request came while the process ended: this run shows nothing")
	}
	t.Logf("%d sent, %d failed, %d served while ending, the ending took %s", sent.Load(), failed.Load(), leaving.late.Load(), took)
}

func get(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Errorf("GET %s: %v", url, err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// A request that is slow, but quick enough for the grace period, gets its whole
// answer, and /livez and /health/shutdown answer meanwhile.
func TestSlowRequestFinishes(t *testing.T) {
	health := freeAddr(t)
	l := lifecycle.New(lifecycle.Options{Addr: health, Grace: 20 * time.Second, PropagationFloor: 50 * time.Millisecond})
	began, release := make(chan struct{}), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-release
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
	})}
	ln := listen(t)
	done := run(t, l.HTTPListener(srv, ln))

	type answer struct {
		n     int64
		close bool
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			answers <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		answers <- answer{n, resp.Close, err}
	}()
	wait(t, "the request", began)
	l.Drain()
	wait(t, "finish", l.Reached(lifecycle.Finish))

	if code := get(t, "http://"+health+"/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}
	resp, err := http.Get("http://" + health + "/health/shutdown")
	if err != nil {
		t.Fatal(err)
	}
	var status struct {
		Phase    string
		Ready    bool
		Trigger  string
		Deadline time.Time
		InFlight int `json:"in_flight"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&status); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if status.Phase != "finish" || status.Ready || status.Trigger != "call" || status.InFlight != 1 || time.Until(status.Deadline) > 20*time.Second {
		t.Errorf("status %+v", status)
	}

	close(release)
	if a := wait(t, "the answer", answers); a.err != nil || a.n != 1<<20 || !a.close {
		t.Errorf("answer %+v", a)
	}
	if err := wait(t, "the ending", done); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// A handler that ignores everything is cut in time and named in the record, and
// all that Run started is gone afterwards.
func TestStubbornRequestIsCut(t *testing.T) {
	before := runtime.NumGoroutine()
	var record bytes.Buffer
	l := lifecycle.New(lifecycle.Options{Grace: 1500 * time.Millisecond, CutRecord: &record})
	began, release := make(chan struct{}), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "so far")
		_ = http.NewResponseController(w).Flush()
		close(began)
		<-release
	})}
	ln := listen(t)
	done := run(t, l.HTTPListener(srv, ln))

	cut := make(chan error, 1)
	go func() {
		req, _ := http.NewRequest("GET", "http://"+ln.Addr().String()+"/reports?key=secret", nil)
		req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		cut <- err
	}()
	wait(t, "the request", began)
	l.Drain()
	if err := wait(t, "the ending", done); !errors.Is(err, lifecycle.ErrCut) {
		t.Errorf("Run: %v", err)
	}
	if err := wait(t, "the client", cut); err == nil {
		t.Error("the client did not see that its answer was cut")
	}
	var r struct {
		Lifecycle string
		Cut       int
		Requests  []map[string]any
	}
	if err := json.Unmarshal(record.Bytes(), &r); err != nil || bytes.Count(record.Bytes(), []byte("\n")) != 1 {
		t.Fatalf("record %q: %v", &record, err)
	}
	if r.Lifecycle != "cut" || r.Cut != 1 || len(r.Requests) != 1 || r.Requests[0]["route"] != "/reports" ||
		r.Requests[0]["trace_id"] != "0af7651916cd43dd8448eb211c80319c" ||
		r.Requests[0]["bytes_out"] != 6.0 || bytes.Contains(record.Bytes(), []byte("secret")) {
		t.Errorf("record %s", &record)
	}
	close(release)
	http.DefaultClient.CloseIdleConnections()
	until(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before+1 }) // +1: the runtime's for signals
}

// A server with a certificate is served over TLS, HTTP/2 among it: never in plain text.
func TestServesTLS(t *testing.T) {
	other := httptest.NewUnstartedServer(nil) // for its certificate, and a client that trusts it
	other.EnableHTTP2 = true
	other.StartTLS()
	defer other.Close()
	addr := freeAddr(t)
	l := lifecycle.New(lifecycle.Options{PropagationFloor: -1, TerminationLog: "none"}).HTTP(&http.Server{
		Addr: addr, TLSConfig: &tls.Config{Certificates: other.TLS.Certificates, MinVersion: tls.VersionTLS13},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	var said string
	until(t, "an answer", func() bool {
		resp, err := other.Client().Get("https://" + addr)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		said = string(b)
		return err == nil
	})
	if said != "HTTP/2.0" {
		t.Errorf("answered over %q", said)
	}
	if resp, err := http.Get("http://" + addr); err == nil {
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("plain text was answered with %s", resp.Status)
		}
		_ = resp.Body.Close()
	}
	stop()
	if err := wait(t, "the end", done); err != nil {
		t.Error(err)
	}
}

func TestRunCannotListen(t *testing.T) {
	taken := listen(t)
	defer taken.Close()
	ln := listen(t)
	l := lifecycle.New(lifecycle.Options{Addr: taken.Addr().String()})
	err := wait(t, "Run", run(t, l.HTTPListener(&http.Server{}, ln)))
	if err == nil {
		t.Fatal("no error")
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the caller's listener is still open: %v", err)
	}
}

// The ResponseWriter that handlers see offers what that of net/http offers.
func TestHandlerKeepsCapabilities(t *testing.T) {
	l := lifecycle.New(lifecycle.Options{})
	srv := httptest.NewServer(l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok {
			t.Error("no Flusher")
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("no ReaderFrom")
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(hung)); err != nil {
			t.Errorf("write deadline: %v", err)
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		defer c.Close()
		_, _ = rw.WriteString("HTTP/1.1 204 No Content\r\n\r\n")
		_ = rw.Flush()
	})))
	defer srv.Close()
	if code := get(t, srv.URL); code != 204 {
		t.Errorf("code %d", code)
	}
}

// nothing is a ResponseWriter that costs nothing.
type nothing struct{ header http.Header }

func (n nothing) Header() http.Header         { return n.header }
func (n nothing) Write(p []byte) (int, error) { return len(p), nil }
func (n nothing) WriteHeader(int)             {}

// The acceptance is at most 300 ns and no allocation for what "counted" takes
// more than "bare"; "connection" is what the ConnState hook adds for a request on
// a keep-alive connection.
func BenchmarkHandler(b *testing.B) {
	body := []byte("ok")
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	counted := lifecycle.New(lifecycle.Options{}).Handler(next)
	for _, bb := range []struct {
		name string
		h    http.Handler
	}{{"bare", next}, {"counted", counted}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			w := nothing{http.Header{}}
			for b.Loop() {
				bb.h.ServeHTTP(w, r)
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				w := nothing{http.Header{}}
				for pb.Next() {
					bb.h.ServeHTTP(w, r)
				}
			})
		})
	}
	b.Run("connection", func(b *testing.B) {
		b.ReportAllocs()
		srv := &http.Server{}
		lifecycle.New(lifecycle.Options{}).HTTP(srv)
		for range 1000 {
			c, _ := net.Pipe()
			srv.ConnState(c, http.StateNew)
		}
		c, _ := net.Pipe()
		srv.ConnState(c, http.StateNew)
		for b.Loop() {
			srv.ConnState(c, http.StateActive)
			srv.ConnState(c, http.StateIdle)
		}
	})
}

func TestHandlerAllocatesNothing(t *testing.T) {
	body := []byte("ok")
	h := lifecycle.New(lifecycle.Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	w, r := nothing{http.Header{}}, httptest.NewRequest("GET", "/", nil)
	// A collection in between may empty the pool, so one in a hundred is allowed.
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n > 0.01 && !raceEnabled {
		t.Errorf("%v allocations per request", n)
	}
}
