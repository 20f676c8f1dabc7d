package lifecycle

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Handler wraps h so that its requests are counted while they run and, while the
// process ends, every answer carries "Connection: close" (on HTTP/2 net/http
// turns that into GOAWAY). HTTP does this for the servers that it is given; call
// Handler only for a server that Run does not serve.
//
// A handler must not use its ResponseWriter after it has returned, as net/http
// demands: the next request may be using it.
func (l *Lifecycle) Handler(h http.Handler) http.Handler {
	l.serves.Store(true)
	if r, ok := h.(router); ok {
		l.mu.Lock()
		l.routers = append(l.routers, r)
		l.mu.Unlock()
	}
	return &handler{l: l, next: h}
}

type handler struct {
	l    *Lifecycle
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := h.l.exchanges.Get().(*exchange)
	x.w, x.r, x.wrote, x.hijacked, x.returned = w, r, false, false, false
	x.proto = protoHTTP1
	if r.ProtoMajor == 2 {
		x.proto = protoHTTP2
	}
	x.start = h.l.requests.now()
	x.method, x.host, x.path = r.Method, r.Host, r.URL.Path
	x.traceparent, x.requestID = first(r.Header["Traceparent"]), first(r.Header["X-Request-Id"])
	x.bytes.Store(0)
	x.add()
	defer x.end()
	h.next.ServeHTTP(x, r)
	x.discourage() // for an answer that net/http writes because the handler did not
	x.returned = true
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// exchange is one request in flight, and the ResponseWriter that its handler
// sees. It is used again for another request when its handler has returned.
type exchange struct {
	entry
	l *Lifecycle

	// Owned by the handler.
	w                  http.ResponseWriter
	r                  *http.Request
	wrote              bool // the header has been sent, or the connection is the handler's
	hijacked, returned bool
}

// exchangePool returns the pool of a Lifecycle's exchanges.
func exchangePool(l *Lifecycle) *sync.Pool {
	return &sync.Pool{New: func() any {
		x := &exchange{l: l}
		l.requests.assign(&x.entry)
		return x
	}}
}

// end removes the exchange. Only one whose handler returned in the normal way is
// used again: after a panic or a hijack somebody may still hold it.
func (x *exchange) end() {
	x.remove(!x.hijacked)
	x.r = nil
	if x.returned && !x.hijacked {
		x.w = over{}
		x.l.exchanges.Put(x)
	}
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
		x.begin()
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

// Hijack hands the connection to the handler. It stays in flight until it is
// closed.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.wrote, x.hijacked = true, true
	taken := x.l.takeOver(c, x)
	x.remove(false)
	rw.Writer.Reset(taken) // it wrote to c
	return taken, rw, nil
}

// Unwrap serves http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

// over is the ResponseWriter of a request that is over.
type over struct{}

var errOver = errors.New("the handler of this request has returned")

func (over) Header() http.Header       { return http.Header{} }
func (over) Write([]byte) (int, error) { return 0, errOver }
func (over) WriteHeader(int)           {}

// httpServer makes an http.Server a Server.
type httpServer struct {
	srv *http.Server
	ln  net.Listener // nil until Run listens on srv.Addr
	tls bool
}

func (s *httpServer) Serve() error {
	var err error
	if s.tls {
		err = s.srv.ServeTLS(s.ln, "", "")
	} else {
		err = s.srv.Serve(s.ln)
	}
	// ErrServerClosed comes from our own Shutdown or Close.
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving %s: %w", s.ln.Addr(), err)
	}
	return nil
}

// farewell is how long connections on which nothing is in flight may take to go:
// HTTP/2 waits a second for its client after GOAWAY. net/http waits 5 s for
// connections on which no request ever came.
const farewell = 1500 * time.Millisecond

// Shutdown closes the port and the idle connections, and waits until those have
// gone. It also waits for requests in flight, but not for all (hijacked
// connections): step counts them, so this need not wait for longer than farewell.
//
// What remains of the keep-alive race: a client that has been idle all through
// propagate and discourage, and so was never told to leave, may be writing a
// request at the very moment at which its connection is closed. It sees a reset
// and cannot know that nothing was done. Go's own client repeats such a request
// by itself if it is idempotent; for a POST the sender has to decide. Clients
// whose idle timeout is shorter than propagate and discourage together never get
// there.
func (s *httpServer) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	return s.srv.Shutdown(ctx)
}

func (s *httpServer) Close() error {
	err := s.srv.Close()
	if s.ln != nil {
		_ = s.ln.Close() // Close knows it only if Serve was called
	}
	return err
}

// observe puts the Lifecycle between net/http and the server's own hooks.
func (l *Lifecycle) observeServer(srv *http.Server) {
	next := srv.Handler
	if next == nil {
		next = http.DefaultServeMux
	}
	if h, ok := next.(*handler); !ok || h.l != l {
		srv.Handler = l.Handler(next)
	}
	state := srv.ConnState
	srv.ConnState = func(c net.Conn, s http.ConnState) {
		l.conns.set(c, s)
		if s == http.StateNew {
			l.arrivals.connection(time.Now())
		}
		if state != nil {
			state(c, s)
		}
	}
	base := srv.BaseContext
	srv.BaseContext = func(ln net.Listener) context.Context {
		if base == nil {
			return l.work
		}
		ctx, cancel := context.WithCancelCause(base(ln))
		context.AfterFunc(l.work, func() { cancel(context.Cause(l.work)) })
		return ctx
	}
}
