package conform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"
)

// table is the set of endpoints as the balancer believes them to be.
type table struct {
	mu        sync.Mutex
	rng       *rand.Rand
	endpoints []*process
	all       []*process // that there ever were, by id
}

func newTable(seed uint64) *table { return &table{rng: rand.New(rand.NewPCG(seed, 4))} }

var errNoEndpoint = errors.New("no endpoint")

// pick returns an endpoint that is none of those.
func (t *table) pick(but ...*process) (*process, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := t.endpoints
	if len(but) > 0 {
		from = slices.DeleteFunc(slices.Clone(from), func(p *process) bool { return slices.Contains(but, p) })
	}
	if len(from) == 0 {
		return nil, errNoEndpoint
	}
	return from[t.rng.IntN(len(from))], nil
}

func (t *table) add(p *process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endpoints = append(t.endpoints, p)
}

func (t *table) remove(p *process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endpoints = slices.DeleteFunc(t.endpoints, func(q *process) bool { return q == p })
}

// dial connects as a client of layer 4: to the endpoint itself, as kube-proxy only
// rewrites addresses. What becomes of the endpoint later does not touch the
// connection.
func (t *table) dial(ctx context.Context) (*endpointConn, error) {
	p, err := t.pick()
	if err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, &dialError{p.id, err}
	}
	return &endpointConn{Conn: c, process: p.id}, nil
}

// endpointConn is a connection of which it is known where it ends.
type endpointConn struct {
	net.Conn
	process int
}

// dialError says which copy did not take a connection.
type dialError struct {
	process int
	err     error
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// processHeader names the copy in answers that pass the balancer of layer 7.
const processHeader = "X-Conform-Copy"

// l7 is a balancer that chooses per request. It keeps connections to the copies,
// and closes those that are idle when a copy leaves the table.
type l7 struct {
	table   *table
	retries int // elsewhere, where a connection is refused
	proxy   *httputil.ReverseProxy

	mu         sync.Mutex
	transports map[int]*http.Transport // by copy
}

func newL7(t *table, retries int) *l7 {
	b := &l7{table: t, retries: retries, transports: make(map[int]*http.Transport)}
	b.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "chosen later"})
			r.Out.Host = r.In.Host
			// http.Transport repeats a request of its own accord if its body can be
			// sent again. An empty body that it cannot know to be empty prevents that.
			if r.Out.Body == nil || r.Out.Body == http.NoBody {
				r.Out.Body = onceBody{}
			}
			r.Out.Body = keptBody{r.Out.Body}
		},
		Transport:     roundTripper(b.roundTrip),
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0), // the client sees the failure, and counts it
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			w.Header().Set(processHeader, strconv.Itoa(r.Context().Value(chosen{}).(*choice).p.id))
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Set(processHeader, strconv.Itoa(resp.Request.Context().Value(chosen{}).(*choice).p.id))
			return nil
		},
	}
	return b
}

// choice is the copy to which a request goes, and chosen its key in the context.
type choice struct{ p *process }
type chosen struct{}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// onceBody is empty and cannot be sent again.
type onceBody struct{}

func (onceBody) Read([]byte) (int, error) { return 0, io.EOF }
func (onceBody) Close() error             { return nil }

func (b *l7) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, err := b.table.pick()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	b.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), chosen{}, &choice{p})))
}

// keptBody is not closed when a connection is refused: another copy may get it.
type keptBody struct{ io.Reader }

func (keptBody) Close() error { return nil }

func (b *l7) roundTrip(r *http.Request) (*http.Response, error) {
	to := r.Context().Value(chosen{}).(*choice)
	var tried []*process
	for {
		r.URL.Host = to.p.addr
		resp, err := b.transport(to.p).RoundTrip(r)
		if op := (*net.OpError)(nil); len(tried) >= b.retries || !errors.As(err, &op) || op.Op != "dial" {
			return resp, err
		}
		tried = append(tried, to.p)
		p, none := b.table.pick(tried...)
		if none != nil {
			return nil, err
		}
		to.p = p
	}
}

func (b *l7) transport(p *process) *http.Transport {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.transports[p.id]
	if t == nil {
		t = &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute, DisableCompression: true}
		b.transports[p.id] = t
	}
	return t
}

// left closes what is idle towards a copy that is no endpoint any more.
func (b *l7) left(p *process) {
	b.mu.Lock()
	t := b.transports[p.id]
	b.mu.Unlock()
	if t != nil {
		t.CloseIdleConnections()
	}
}

func (b *l7) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.transports {
		t.CloseIdleConnections()
	}
}

// frontPorts is how many ports the balancer listens on: one alone does not have
// enough others for the connections that thousands of requests a second leave behind.
const frontPorts = 8

// listen serves the balancer on loopback ports until close is called.
func (b *l7) listen() (addrs []string, close func(), err error) {
	srv := &http.Server{Handler: b, ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	close = func() { _ = srv.Close(); serving.Wait(); b.close() }
	for range frontPorts {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			close()
			return nil, nil, fmt.Errorf("listening for the balancer: %w", err)
		}
		addrs = append(addrs, ln.Addr().String())
		serving.Go(func() { _ = srv.Serve(ln) }) // ends by Close
	}
	return addrs, close, nil
}
