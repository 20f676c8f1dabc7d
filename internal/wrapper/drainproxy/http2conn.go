package drainproxy

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// This file takes leave of clients of HTTP/2 in the two steps of RFC 9113, 6.8.
// net/http knows only the second: the GOAWAY that names the last stream that it will
// serve. What a client sends before it has read that is dropped, and a request whose
// body cannot be sent again fails. So the first GOAWAY goes out from here, between
// two frames of net/http's: it names the last stream that can be, so it drops
// nothing, and only asks for no new ones. A PING follows it. When the client has
// answered that, it has read both.

// settle is the time between the answer to the PING and the second GOAWAY: a client
// may have begun a request before it read the first one, and send it after its
// answer to the PING.
const settle = time.Second

// http2Conn is a client's connection that speaks HTTP/2.
type http2Conn struct {
	net.Conn
	used   atomic.Bool  // there was a request
	idle   atomic.Int64 // since when net/http says that no stream is open, in Unix nanoseconds; 0: one is
	heard  atomic.Int64 // when the client had answered the PING, in Unix nanoseconds; 0: not yet
	closed chan struct{}
	once   sync.Once

	in http2Frames // of the client; owned by Read

	mu   sync.Mutex // guards what follows, and writing
	out  http2Frames
	due  bool // the first GOAWAY is to be sent when a frame ends
	told bool // it has been sent
}

func newHTTP2Conn(c net.Conn) *http2Conn {
	return &http2Conn{Conn: c, closed: make(chan struct{}), in: http2Frames{left: len(clientPreface)}}
}

// clientPreface is what a client sends before its first frame.
const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// firstGoAway is a GOAWAY that names the last stream that can be, without an error,
// and a PING.
var firstGoAway = []byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x00\x00\x00" +
	"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + pingData)

const pingData = "evenkeel"

// leave asks the client for no new requests.
func (c *http2Conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due || c.told {
		return
	}
	if !c.out.between() {
		c.due = true
		return
	}
	c.told = true
	_, _ = c.Conn.Write(firstGoAway) // net/http finds out what is wrong with the connection
}

// hasLeft reports whether the client knows that it shall send no new requests, and
// had time to send those that it had begun.
func (c *http2Conn) hasLeft() bool {
	at := c.heard.Load()
	return at != 0 && time.Since(time.Unix(0, at)) > settle
}

func (c *http2Conn) Write(p []byte) (n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.out.scan(p)
	if !c.due || at < 0 {
		return c.Conn.Write(p)
	}
	if n, err = c.Conn.Write(p[:at]); err != nil {
		return n, err
	}
	c.due, c.told = false, true
	if _, err = c.Conn.Write(firstGoAway); err != nil {
		return n, err
	}
	rest, err := c.Conn.Write(p[at:])
	return n + rest, err
}

func (c *http2Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.scan(p[:n])
	if c.in.pong && c.heard.CompareAndSwap(0, time.Now().UnixNano()) {
		time.AfterFunc(settle, c.closeWhenIdle)
	}
	return n, err
}

// closeWhenIdle closes the connection when its client has left and no stream has been
// open for a while. Clients keep one that was idle when they were asked to leave, and
// net/http closes it only after its own GOAWAY. Idle for a while, because net/http
// may still be writing the end of the last answer when it says that it is.
func (c *http2Conn) closeWhenIdle() {
	select {
	case <-c.closed:
		return
	default:
	}
	if at := c.idle.Load(); at != 0 && time.Since(time.Unix(0, at)) >= settle/2 {
		// net/http takes the end of reading for that of its client.
		_ = c.Conn.SetReadDeadline(longAgo)
		return
	}
	time.AfterFunc(settle/2, c.closeWhenIdle)
}

// HTTP2State is the ConnState of the http.Server that serves what Serve hands over.
func (p *Proxy) HTTP2State(c net.Conn, s http.ConnState) {
	x, ok := c.(*http2Conn)
	switch {
	case !ok:
	case s == http.StateIdle:
		x.idle.Store(time.Now().UnixNano())
	default:
		x.idle.Store(0)
	}
}

func (c *http2Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// leaveWhen calls leave when draining begins. A connection that has not been used yet
// was just opened for a request, which comes first.
func (c *http2Conn) leaveWhen(draining <-chan struct{}) {
	select {
	case <-draining:
		if c.used.Load() {
			c.leave()
		}
	case <-c.closed:
	}
}

// http2Frames finds the ends of HTTP/2 frames in the bytes that pass.
type http2Frames struct {
	head     [9]byte
	have     int     // bytes of head
	left     int     // bytes of the payload to come
	begun    bool    // a frame has passed
	inFields bool    // CONTINUATION frames must follow
	ping     [8]byte // payload of a PING
	pong     bool    // the answer to our PING has passed
}

// The types of frames that matter here, and their flags.
const (
	frameHeaders      = 0x1
	framePushPromise  = 0x5
	framePing         = 0x6
	frameContinuation = 0x9

	flagAck        = 0x1
	flagEndHeaders = 0x4
)

// between reports whether another frame may be put in here: the first one has to be
// net/http's SETTINGS, and nothing may stand between the parts of a field block.
func (f *http2Frames) between() bool {
	return f.begun && f.have == 0 && f.left == 0 && !f.inFields
}

// scan takes note of p and returns the last place in it, its ends included, at which
// another frame may be put in; -1 if there is none.
func (f *http2Frames) scan(p []byte) (place int) {
	place = -1
	for n := 0; ; {
		if f.between() {
			place = n
		}
		switch {
		case n == len(p):
			return place
		case f.left > 0:
			k := min(f.left, len(p)-n)
			if f.have == len(f.head) && f.head[3] == framePing && f.size() == len(f.ping) {
				copy(f.ping[len(f.ping)-f.left:], p[n:n+k])
			}
			n += k
			if f.left -= k; f.left == 0 && f.have > 0 {
				f.end()
			}
		default:
			k := copy(f.head[f.have:], p[n:])
			n += k
			if f.have += k; f.have == len(f.head) {
				if f.left = f.size(); f.left == 0 {
					f.end()
				}
			}
		}
	}
}

// size is that of the payload.
func (f *http2Frames) size() int { return int(binary.BigEndian.Uint32(f.head[:4]) >> 8) }

// end is called at the end of a frame.
func (f *http2Frames) end() {
	switch kind, flags := f.head[3], f.head[4]; kind {
	case frameHeaders, framePushPromise, frameContinuation:
		f.inFields = flags&flagEndHeaders == 0
	case framePing:
		f.pong = f.pong || flags&flagAck != 0 && f.size() == len(f.ping) && string(f.ping[:]) == pingData
	}
	f.have, f.begun = 0, true
}

// http2ConnKey is the key of the connection in the context of its requests.
type http2ConnKey struct{}

// ConnContext is that of the http.Server that serves what Serve hands over.
func (p *Proxy) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, http2ConnKey{}, c)
}

// TakeLeave wraps the whole handler of that http.Server: it asks clients to leave
// while the proxy drains. A "Connection: close" of h, of which net/http makes its
// GOAWAY, passes only when the client sends no new requests any more.
func (p *Proxy) TakeLeave(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(http2ConnKey{}).(*http2Conn)
		if !ok {
			h.ServeHTTP(w, r)
			return
		}
		c.used.Store(true)
		if p.draining() {
			c.leave()
		}
		f := farewell{w, c}
		h.ServeHTTP(f, r)
		f.keep() // in case that h wrote nothing
	})
}

// farewell is a ResponseWriter that keeps the connection until its client has left.
type farewell struct {
	http.ResponseWriter
	conn *http2Conn
}

func (f farewell) keep() {
	if !f.conn.hasLeft() {
		f.Header().Del("Connection")
	}
}

func (f farewell) WriteHeader(code int) {
	f.keep()
	f.ResponseWriter.WriteHeader(code)
}

func (f farewell) Write(p []byte) (int, error) {
	f.keep()
	return f.ResponseWriter.Write(p)
}

func (f farewell) FlushError() error {
	f.keep()
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// Unwrap serves http.ResponseController.
func (f farewell) Unwrap() http.ResponseWriter { return f.ResponseWriter }
