package drainproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// conn is a client's connection and the one to the server that belongs to it. It
// has one goroutine (serve); a second one passes the body of a request while the
// first already waits for the answer.
type conn struct {
	p      *Proxy
	ctx    context.Context // ends when the connection is cut
	cancel context.CancelFunc

	client     net.Conn
	fromClient buffer
	toClient   rawWriter
	peer       []byte // address of the client

	server     net.Conn // nil if there is none
	fromServer buffer
	toServer   rawWriter
	lastUsed   time.Time // of server

	watch    *time.Timer   // starts watchClient when an answer takes long
	watching bool          // watch is set, or watchClient runs
	watched  chan struct{} // gets a value when watchClient has ended

	counter counter
	req     head   // of the exchange under way
	raw     []byte // its bytes, in fromClient
	out     []byte // scratch for heads
	keep    bool   // the client may send another request

	mu    sync.Mutex // guards what follows, and the closing of server by cut
	busy  bool       // a request has begun to arrive and is not answered
	used  bool       // there was a request
	last  bool       // the request under way, or one that has arrived, is the last
	isCut bool
}

func newConn(p *Proxy, client net.Conn) *conn {
	c := &conn{p: p, client: client}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.fromClient.reset(client)
	c.toClient.reset(client)
	if host, _, err := net.SplitHostPort(client.RemoteAddr().String()); err == nil {
		c.peer = []byte(host)
	}
	c.watched = make(chan struct{}, 1)
	c.watch = time.AfterFunc(time.Hour, c.watchClient)
	c.watch.Stop()
	c.counter.c = c
	c.counter.header = make(http.Header)
	c.counter.r = http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), URL: &c.counter.url}
	return c
}

// preface is how HTTP/2 begins.
var preface = []byte("PRI * HTTP/2.0\r\n")

// serve is the life of a client's connection up to the moment at which no more
// requests are taken from it. It reports whether the connection is still ours to
// close.
func (c *conn) serve(handOver func(net.Conn)) (ours bool) {
	hook := c.p.cfg.ConnState
	hook(c.client, http.StateNew)
	defer c.cancel()
	for first := true; ; first = false {
		if !c.await() {
			break
		}
		if first && c.isHTTP2() {
			hook(c.client, http.StateClosed) // the http.Server that takes it counts it from here
			h2 := newHTTP2Conn(&prefixed{c.client, bytes.Clone(c.fromClient.bytes())})
			go h2.leaveWhen(c.p.cfg.Draining)
			handOver(h2)
			return false
		}
		c.mu.Lock()
		c.used = true
		c.mu.Unlock()
		hook(c.client, http.StateActive)
		if !c.serveOne() {
			break
		}
		c.fromClient.shrink()
		hook(c.client, http.StateIdle)
		c.becomeIdle()
	}
	c.dropServer()
	hook(c.client, http.StateClosed)
	return true
}

// await waits for the first byte of a request.
func (c *conn) await() bool {
	for len(c.fromClient.bytes()) == 0 {
		err := c.fromClient.fill(smallBuffer)
		if errors.Is(err, os.ErrDeadlineExceeded) && hasInput(c.client) {
			_ = c.client.SetReadDeadline(time.Time{})
			continue // a request came at the last moment
		}
		if err != nil {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = true
	if c.last {
		_ = c.client.SetReadDeadline(time.Time{})
	}
	return !c.isCut
}

func (c *conn) becomeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
	if c.last {
		_ = c.client.SetReadDeadline(longAgo)
	}
}

// closeWhenIdle makes the request that is under way or has arrived, if there is
// one, the last one.
func (c *conn) closeWhenIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = true
	switch {
	case c.busy:
	case c.used:
		_ = c.client.SetReadDeadline(longAgo) // wakes await
	default:
		_ = c.client.SetReadDeadline(time.Now().Add(c.p.cfg.FreshTime))
	}
}

func (c *conn) isLast() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *conn) isHTTP2() bool {
	for {
		got := c.fromClient.bytes()
		if len(got) >= len(preface) {
			return bytes.HasPrefix(got, preface)
		}
		if !bytes.HasPrefix(preface, got) || c.fromClient.fill(smallBuffer) != nil {
			return false
		}
	}
}

// headTimeout is how long a client may take for the head of a request once it has
// begun. The server cannot guard itself against slow heads, for it never sees them.
const headTimeout = time.Minute

// serveOne serves the request whose first byte has been read. It reports whether
// the client may send another one.
func (c *conn) serveOne() bool {
	whole := bytes.Contains(c.fromClient.bytes(), emptyLine) // nearly always
	if !whole {
		_ = c.client.SetReadDeadline(time.Now().Add(headTimeout))
	}
	raw, err := c.fromClient.head()
	if !whole {
		_ = c.client.SetReadDeadline(time.Time{})
	}
	if err != nil {
		if errors.Is(err, errHeadTooLong) {
			c.refuse(http.StatusRequestHeaderFieldsTooLarge, "")
		}
		return false
	}
	h, err := parseRequest(raw)
	if err != nil {
		c.refuse(http.StatusBadRequest, "")
		return false
	}
	if string(h.method) == http.MethodConnect {
		c.refuse(http.StatusNotImplemented, "") // its answer has no end that we could see
		return false
	}
	c.req, c.raw, c.keep = h, raw, false
	c.p.counted.ServeHTTP(&c.counter, c.counter.request(h))
	c.req, c.raw = head{}, nil
	return c.keep
}

// exchange sends the request to the server and its answer to the client. It
// reports whether both connections can be used again.
func (c *conn) exchange() bool {
	reused := c.takeServer()
	if c.server == nil {
		if err := c.connect(); err != nil {
			c.refuse(http.StatusServiceUnavailable, "Retry-After: 1\r\n")
			return false
		}
	}

	// The head, and with it as much of the body as is here: one write for most
	// requests.
	reqBody := bodyOf(c.req)
	c.out = append(c.out[:0], c.raw...)
	if !c.req.forwarded && c.peer != nil {
		c.out = append(append(append(c.out[:len(c.out)-2], "X-Forwarded-For: "...), c.peer...), "\r\n\r\n"...)
	}
	method := c.counter.r.Method // c.req.method is in a buffer that is reused
	rest := c.fromClient.bytes()[len(c.raw):]
	n, err := reqBody.scan(rest)
	if err != nil {
		c.refuse(http.StatusBadRequest, "")
		return false
	}
	c.out = append(c.out, rest[:n]...)
	c.fromClient.consume(len(c.raw) + n)
	whole := reqBody.done()
	if whole {
		c.watching = true
		c.watch.Reset(watchAfter)
		defer c.unwatch()
	}
	for attempt := 0; ; attempt++ {
		_, err = c.toServer.Write(c.out)
		if err == nil && whole {
			err = c.firstByte()
		}
		if err == nil {
			break
		}
		// The server closed a kept connection at the moment at which it was used.
		// What may be sent twice is sent again; for the rest only the client knows.
		if attempt == 0 && reused && whole && isIdempotent(method) && !c.wasCut() {
			c.dropServer()
			if c.connect() == nil {
				continue
			}
		}
		c.fail()
		return false
	}

	var bodySent <-chan error
	if !whole {
		bodySent = c.sendBody(reqBody)
	}
	again := c.answer(method)
	if bodySent != nil {
		if !again {
			// The server does not want the rest, or nobody is there any more.
			_ = c.client.SetReadDeadline(longAgo)
			_ = c.server.SetWriteDeadline(longAgo)
		}
		if err := <-bodySent; err != nil {
			again = false
		}
	}
	c.lastUsed = time.Now()
	return again
}

// sendBody passes what is left of the request's body, beside the answer. It owns
// fromClient until the channel has its result.
func (c *conn) sendBody(b body) <-chan error {
	sent := make(chan error, 1)
	server := c.server
	go func() { sent <- copyBody(server, &c.fromClient, &b) }()
	return sent
}

// firstByte waits for the answer to begin.
func (c *conn) firstByte() error {
	if len(c.fromServer.bytes()) > 0 {
		return nil
	}
	return c.fromServer.fill(maxHead)
}

// answer passes the answer on, after informational ones.
func (c *conn) answer(method string) (again bool) {
	for {
		raw, err := c.fromServer.head()
		if err != nil {
			c.fail()
			return false
		}
		h, err := parseResponse(raw, method)
		if err != nil {
			c.fail()
			return false
		}
		switch {
		case h.status == http.StatusSwitchingProtocols:
			c.unwatch() // the tunnel reads from the client
			c.tunnel(raw, h)
			return false
		case h.status < 200:
			_, err := c.client.Write(raw)
			c.fromServer.consume(len(raw))
			if err != nil {
				return false
			}
			continue
		}
		again = h.framing != untilClose && !h.closes && !c.req.closes &&
			(h.minor == 1 && c.req.minor == 1 || h.keeps)
		return c.passAnswer(raw, h, again) && again
	}
}

// passAnswer passes the final answer. It reports whether the whole of it has been
// passed and the client was not asked to leave.
func (c *conn) passAnswer(raw []byte, h head, again bool) bool {
	b := bodyOf(h)
	n, err := b.scan(c.fromServer.bytes()[len(raw):])
	if err != nil {
		c.fail()
		return false
	}
	out := c.fromServer.bytes()[:len(raw)+n] // usually the whole answer, as it came
	drain := again && (c.p.draining() || c.isLast())
	if drain {
		if c.out, err = withClose(c.out[:0], raw, h); err != nil {
			c.fail()
			return false
		}
		c.out = append(c.out, out[len(raw):]...)
		out = c.out
	}
	if _, err := c.toClient.Write(out); err != nil {
		return false
	}
	c.fromServer.consume(len(raw) + n)
	if !b.done() {
		var err error
		if h.events {
			err = c.copyEvents(&b)
		} else {
			err = copyBody(c.client, &c.fromServer, &b)
		}
		if err != nil {
			if !errors.Is(err, errEnded) {
				c.abort() // the client must not take what it has for the whole
			}
			return false
		}
	}
	c.fromServer.shrink()
	return !drain
}

// takeServer looks whether the kept connection to the server is still good.
func (c *conn) takeServer() (reused bool) {
	if c.server == nil {
		return false
	}
	// Servers close connections that are idle for seconds, not for milliseconds:
	// a busy connection need not pay for looking.
	if time.Since(c.lastUsed) > 100*time.Millisecond && hasInput(c.server) {
		c.dropServer() // closed, or it says what nobody asked for
		return false
	}
	return true
}

func (c *conn) connect() error {
	server, err := c.p.dial(c.ctx)
	if err != nil {
		return fmt.Errorf("connecting to the server: %w", err)
	}
	c.mu.Lock()
	c.server = server
	if c.isCut {
		_ = server.Close()
	}
	c.mu.Unlock()
	c.fromServer.reset(server)
	c.toServer.reset(server)
	return nil
}

func (c *conn) dropServer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server != nil {
		_ = c.server.Close()
		c.server = nil
	}
}

// fail answers a request of which nobody knows what became of it.
func (c *conn) fail() {
	if c.p.cfg.Gone() {
		c.refuse(http.StatusServiceUnavailable, "Retry-After: 1\r\n")
		return
	}
	c.refuse(http.StatusBadGateway, "")
}

// refuse answers without the server. Nothing of another answer has been sent.
func (c *conn) refuse(status int, fields string) {
	text := http.StatusText(status)
	c.out = fmt.Appendf(c.out[:0], "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n%s\n",
		status, text, len(text)+1, fields, text)
	_, _ = c.client.Write(c.out)
}

// abort makes the end of the connection a reset.
func (c *conn) abort() {
	if t, ok := c.client.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.client.Close()
}

// cut ends the connection whatever is under way.
func (c *conn) cut() {
	c.cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.isCut = true
	_ = c.client.Close()
	if c.server != nil {
		_ = c.server.Close()
	}
}

func (c *conn) wasCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isCut
}
