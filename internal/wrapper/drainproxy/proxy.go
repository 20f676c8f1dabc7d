// Package drainproxy is a reverse proxy for one server on the same machine, made
// for the time in which that server ends: while it drains, every answer asks the
// client to come back on another connection ("Connection: close", GOAWAY),
// WebSockets get a close frame (1001), event streams end between two events, and
// everything that is in flight is counted.
//
// For HTTP/1.1 it is as transparent as a proxy can be: every client connection has
// one connection to the server, and bytes pass unchanged except for the fields
// named here. It speaks HTTP/1.1 itself (message.go) because a proxy made of
// net/http's server and client costs several times as much per request; see the
// benchmark. HTTP/2 without TLS, and with it gRPC, goes through net/http.
//
// It decides nothing about when to drain, knows nothing of signals or processes,
// and never repeats a request that the server may have seen.
package drainproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// Config says what a Proxy stands before. Target must be set.
type Config struct {
	Target string // host:port of the server

	// Count wraps the handler of every request, as lifecycle.Handler does. The
	// http.Request that it sees has a method, a path, a protocol and the fields
	// Traceparent and X-Request-Id, no more. Defaults to no wrapping.
	Count func(http.Handler) http.Handler

	// ConnState is called as http.Server calls its hook. Defaults to nothing.
	ConnState func(net.Conn, http.ConnState)

	// Draining is closed when clients shall be asked to leave. Defaults to never.
	Draining <-chan struct{}

	// EndStreams is closed when WebSockets and event streams shall end. Spread is
	// the time over which their ends are spread, so that their clients do not all
	// come back at once. Default to never, and to all at once.
	EndStreams <-chan struct{}
	Spread     time.Duration

	// Gone reports whether the server has ended for good. While it has not, a
	// refused connection is tried again for DialPatience, which defaults to 1 s.
	Gone         func() bool
	DialPatience time.Duration

	// FreshTime is what a client has, once Shutdown has been called, to send its
	// first request: a connection that has just been opened was opened for one.
	// Defaults to 1 s.
	FreshTime time.Duration
}

// Proxy serves any number of connections at a time.
type Proxy struct {
	cfg     Config
	counted http.Handler
	http2   http.Handler

	mu      sync.Mutex
	conns   map[*conn]struct{}
	serving int           // of conns; the others only wait for their client to close
	leaving chan struct{} // not nil: no more than one request for each connection; closed when serving is 0
	closed  bool
	done    sync.WaitGroup
}

// New returns a Proxy that serves nothing yet.
func New(c Config) *Proxy {
	if c.Count == nil {
		c.Count = func(h http.Handler) http.Handler { return h }
	}
	if c.ConnState == nil {
		c.ConnState = func(net.Conn, http.ConnState) {}
	}
	if c.Gone == nil {
		c.Gone = func() bool { return false }
	}
	if c.DialPatience == 0 {
		c.DialPatience = time.Second
	}
	if c.FreshTime == 0 {
		c.FreshTime = time.Second
	}
	p := &Proxy{cfg: c, conns: make(map[*conn]struct{})}
	p.counted = c.Count(http.HandlerFunc(exchangeHandler))
	p.http2 = newHTTP2Handler(p)
	return p
}

func (p *Proxy) draining() bool {
	select {
	case <-p.cfg.Draining:
		return true
	default:
		return false
	}
}

// HTTP2 returns the handler of requests that come over HTTP/2. The caller serves
// it, with an http.Server of its own that counts and drains, on the connections
// that Serve hands over. That server's ConnContext has to be the Proxy's, and its
// handler to be wrapped by TakeLeave in the end.
func (p *Proxy) HTTP2() http.Handler { return p.http2 }

// Serve accepts connections until ln is closed, and returns nil then. It waits where
// the machine has no room for another one. Connections that turn out to be HTTP/2
// are given to handOver, with what was read of them already to be read again. Serve
// does not wait for connections: Shutdown and Close do.
func (p *Proxy) Serve(ln net.Listener, handOver func(net.Conn)) error {
	for {
		client, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case isShortage(err):
			time.Sleep(10 * time.Millisecond)
			continue
		case err != nil:
			return fmt.Errorf("accepting connections: %w", err)
		}
		c := newConn(p, client)
		if !p.add(c) {
			_ = client.Close()
			continue
		}
		go func() {
			defer p.done.Done()
			ours := c.serve(handOver)
			p.left()
			if ours {
				linger(c.client)
			}
			p.remove(c)
		}()
	}
}

// isShortage reports whether accepting failed for want of something, or because the
// client has gone already.
func isShortage(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (p *Proxy) add(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	p.serving++
	p.done.Add(1)
	if p.leaving != nil {
		c.closeWhenIdle()
	}
	return true
}

// left is called when a connection takes no more requests.
func (p *Proxy) left() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.serving--
	p.checkLeft()
}

func (p *Proxy) checkLeft() {
	if p.leaving == nil || p.serving > 0 {
		return
	}
	select {
	case <-p.leaving:
	default:
		close(p.leaving)
	}
}

func (p *Proxy) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// Shutdown makes the request that is under way on a connection, or has arrived on
// it, its last one, ends the connections that have none, and returns when no
// connection takes requests any more, or ctx ends. What a client has sent by now
// is served, although nobody has read it. The caller has closed the listener.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if p.leaving == nil {
		p.leaving = make(chan struct{})
	}
	leaving := p.leaving
	p.checkLeft()
	for c := range p.conns {
		c.closeWhenIdle()
	}
	p.mu.Unlock()
	select {
	case <-leaving:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts every connection and returns when all have ended.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for c := range p.conns {
		c.cut()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// dial connects to the server. While the server has not ended, it may just be
// restarting its listener.
func (p *Proxy) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	for start := time.Now(); ; {
		c, err := d.DialContext(ctx, "tcp", p.cfg.Target)
		if err == nil || p.cfg.Gone() || time.Since(start) > p.cfg.DialPatience {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// exchangeHandler is what Count wraps: the middle of an exchange of HTTP/1.1.
func exchangeHandler(w http.ResponseWriter, _ *http.Request) {
	for {
		if x, ok := w.(*counter); ok {
			x.c.keep = x.c.exchange()
			return
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return // unreachable: Count got a counter
		}
		w = u.Unwrap()
	}
}

// counter carries a connection through the wrapping of Config.Count. Nothing is
// written to it: answers pass as bytes.
type counter struct {
	c      *conn
	header http.Header
	r      http.Request
	url    url.URL
}

func (x *counter) Header() http.Header       { return x.header }
func (x *counter) WriteHeader(int)           {}
func (x *counter) Write([]byte) (int, error) { return 0, http.ErrNotSupported }

// request describes the request for whoever counts it.
func (x *counter) request(h head) *http.Request {
	clear(x.r.Header)
	if h.traceparent != nil {
		x.r.Header["Traceparent"] = []string{string(h.traceparent)}
	}
	if h.requestID != nil {
		x.r.Header["X-Request-Id"] = []string{string(h.requestID)}
	}
	if x.r.Method != string(h.method) {
		x.r.Method = string(h.method)
	}
	path := h.target
	for i, b := range path {
		if b == '?' {
			path = path[:i] // a query may hold secrets
			break
		}
	}
	if x.url.Path != string(path) { // often the same as the last: no new string then
		x.url.Path = string(path)
	}
	return &x.r
}

// prefixed is a connection of which some bytes were read already.
type prefixed struct {
	net.Conn
	unread []byte
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
