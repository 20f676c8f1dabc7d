package lifecycle

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Handler wraps h so that its requests are counted while they run and, while the
// process ends, every answer carries "Connection: close" (on HTTP/2 net/http
// turns that into GOAWAY). HTTP does this for the servers that it is given; call
// Handler only for a server that Run does not serve.
func (l *Lifecycle) Handler(h http.Handler) http.Handler { return &handler{l: l, next: h} }

type handler struct {
	l    *Lifecycle
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{
		l: h.l, w: w, start: time.Now(),
		proto: r.Proto, method: r.Method, path: r.URL.Path,
		traceparent: r.Header.Get("Traceparent"), requestID: r.Header.Get("X-Request-Id"),
	}
	h.l.arrivals.request(x.start)
	h.l.everUsed.Store(true)
	h.l.requests.add(x)
	defer h.l.requests.remove(x)
	h.next.ServeHTTP(x, r)
	x.discourage() // for an answer that net/http writes because the handler did not
}

// exchange is one request in flight, and the ResponseWriter that its handler
// sees. All fields but bytes are the handler's own; what the cut record reads of
// them does not change after add.
type exchange struct {
	l     *Lifecycle
	w     http.ResponseWriter
	wrote bool // the header has been sent, or the connection is the handler's
	bytes atomic.Int64

	start                  time.Time
	proto, method, path    string // the path without its query, which may hold secrets
	traceparent, requestID string

	previous, next *exchange // owned by exchanges
}

// discourage asks the client to open its next connection elsewhere. It is decided
// when the header is sent and not when the request comes, so that requests in
// flight at the start of the ending carry it too.
//
// It begins with propagate, earlier than the phase that is named for it: a client
// that comes back to this process before the balancers have left it pays for one
// more connection; one that is never told keeps its connection until it is cut.
func (x *exchange) discourage() {
	if !x.wrote && x.l.Phase() >= Propagate {
		x.w.Header().Set("Connection", "close")
	}
}

func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(code int) {
	// 1xx is not the answer yet, and 101 needs its own Connection header.
	if code >= 200 {
		x.discourage()
		x.wrote = true
	}
	x.w.WriteHeader(code)
}

func (x *exchange) begin() {
	if !x.wrote {
		x.discourage()
		x.wrote = true
	}
}

func (x *exchange) Write(p []byte) (int, error) {
	x.begin()
	n, err := x.w.Write(p)
	x.bytes.Add(int64(n))
	return n, err
}

func (x *exchange) WriteString(s string) (int, error) {
	x.begin()
	n, err := io.WriteString(x.w, s)
	x.bytes.Add(int64(n))
	return n, err
}

// ReadFrom keeps sendfile available to http.ServeContent.
func (x *exchange) ReadFrom(r io.Reader) (int64, error) {
	x.begin()
	n, err := io.Copy(x.w, r)
	x.bytes.Add(n)
	return n, err
}

func (x *exchange) Flush() { _ = x.FlushError() }

func (x *exchange) FlushError() error {
	x.begin()
	return http.NewResponseController(x.w).Flush()
}

func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err == nil {
		x.wrote = true
	}
	return c, rw, err
}

// Unwrap serves http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// exchanges holds the requests in flight as a list through the exchanges
// themselves, so that adding and removing allocates nothing.
type exchanges struct {
	mu    sync.Mutex
	first *exchange
	n     int
}

func (e *exchanges) add(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x.next = e.first
	if e.first != nil {
		e.first.previous = x
	}
	e.first = x
	e.n++
}

func (e *exchanges) remove(x *exchange) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if x.previous != nil {
		x.previous.next = x.next
	} else {
		e.first = x.next
	}
	if x.next != nil {
		x.next.previous = x.previous
	}
	e.n--
}

func (e *exchanges) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.n
}

// connections counts the open connections by state. A request is over for its
// client when the connection leaves StateActive; its handler returns before that,
// while part of the answer may still be in a buffer.
type connections struct {
	mu     sync.Mutex
	states map[net.Conn]http.ConnState
	active int
}

func (c *connections) set(conn net.Conn, to http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.states == nil {
		c.states = make(map[net.Conn]http.ConnState)
	}
	if c.states[conn] == http.StateActive {
		c.active--
	}
	switch to {
	case http.StateClosed, http.StateHijacked:
		delete(c.states, conn)
		return
	case http.StateActive:
		c.active++
	}
	c.states[conn] = to
}

// count returns how many connections have a request and how many have none. New
// connections belong to the latter: clients open some in reserve.
func (c *connections) count() (active, idle int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active, len(c.states) - c.active
}

// arrivals says when traffic last came and how dense it usually is.
type arrivals struct {
	epoch time.Time    // set once; last counts from here, so that it is monotonic
	total atomic.Int64 // requests so far
	last  atomic.Int64 // of a request or a connection, in nanoseconds after epoch; 0 = none

	// Owned by the loop of Run, which samples once a second.
	samples [60]sample
	next    int
}

type sample struct {
	at    time.Time
	total int64
}

func (a *arrivals) request(at time.Time) {
	a.total.Add(1)
	a.connection(at)
}

// connection does not count towards the rate: one connection carries many
// requests, and a rate that is too high makes the quiet window too short.
func (a *arrivals) connection(at time.Time) { a.last.Store(max(1, int64(at.Sub(a.epoch)))) }

func (a *arrivals) lastArrival() time.Time {
	if n := a.last.Load(); n != 0 {
		return a.epoch.Add(time.Duration(n))
	}
	return time.Time{}
}

// sample remembers the total, at most once a second.
func (a *arrivals) sample(at time.Time) {
	latest := a.samples[(a.next+len(a.samples)-1)%len(a.samples)]
	if !latest.at.IsZero() && at.Sub(latest.at) < time.Second {
		return
	}
	a.samples[a.next] = sample{at, a.total.Load()}
	a.next = (a.next + 1) % len(a.samples)
}

// meanGap returns the mean time between the requests of the last minute, or as
// much of it as there is; 0 if there were none.
func (a *arrivals) meanGap(at time.Time) time.Duration {
	oldest := a.samples[a.next]
	if oldest.at.IsZero() { // the ring is not full yet
		oldest = a.samples[0]
	}
	n := a.total.Load() - oldest.total
	if oldest.at.IsZero() || n <= 0 {
		return 0
	}
	return at.Sub(oldest.at) / time.Duration(n)
}
