package load

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const hung = 20 * time.Second

func testClient(t *testing.T, target string, keepAlive int) *client {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(u, nil, keepAlive)
	t.Cleanup(c.close)
	return c
}

func soon() time.Time { return time.Now().Add(hung) }

// rawServer hands each connection to handle, with its number from 1 on.
// The connection is closed when handle returns.
func rawServer(t testing.TB, handle func(n int32, c *net.TCPConn, r *bufio.Reader)) (target string, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := conns.Add(1)
			go func() {
				defer c.Close()
				handle(n, c.(*net.TCPConn), bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + l.Addr().String(), conns
}

// readRequest reads one request with its body.
func readRequest(r *bufio.Reader) (*http.Request, string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(req.Body)
	return req, string(body), err
}

func TestClientAnswers(t *testing.T) {
	long := strings.Repeat("x", maxBody+1)
	tests := []struct {
		name     string
		raw      string // what the server writes; then it closes
		status   int
		body     string
		reusable bool
		cause    Cause
	}{
		{"content length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, None},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, "ok", true, None},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, None},
		{"connection close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false, None},
		{"until the end of the stream", "HTTP/1.1 200 OK\r\n\r\nok", 200, "ok", false, None},
		{"http/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false, None},
		{"informational first", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true, None},
		{"more than was asked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n", 200, "ok", false, None},
		{"error status", "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, "", true, BadStatus},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", 302, "", true, BadStatus},
		{"nothing", "", 0, "", false, EOF},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-Le", 0, "", false, EOF},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok", 200, "ok", false, EOF},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nok", 200, "ok", false, EOF},
		{"not http", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "", false, BadAnswer},
		{"endless", fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), 200, long, false, BadAnswer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, _ := rawServer(t, func(_ int32, c *net.TCPConn, r *bufio.Reader) {
				if _, _, err := readRequest(r); err == nil {
					io.WriteString(c, tt.raw)
				}
			})
			nc, err := net.Dial("tcp4", strings.TrimPrefix(target, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			cl := testClient(t, target, 1)
			ans, reusable, err := newConn(nc).exchange(cl.message(request{path: "/"}), Get, soon())
			if ans.status != tt.status || string(ans.body) != tt.body || reusable != tt.reusable {
				t.Errorf("got status %d, %d bytes, reusable %t", ans.status, len(ans.body), reusable)
			}
			if _, cause := judge(Get, "", ans, err); cause != tt.cause {
				t.Errorf("error %v: got cause %d, want %d", err, cause, tt.cause)
			}
		})
	}
}

func TestClientSends(t *testing.T) {
	type seen struct{ method, uri, host, contentType, body string }
	got := make(chan seen, 2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, r.Host, r.Header.Get("Content-Type"), string(body)}
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	cl := testClient(t, srv.URL+"/base/", 1)
	for _, r := range []struct {
		req  request
		want seen
	}{
		{request{kind: Get, path: "/v1/quote?symbol=A"}, seen{"GET", "/base/v1/quote?symbol=A", host, "", ""}},
		{request{kind: Post, path: "/v1/orders", body: []byte(`{}`)}, seen{"POST", "/base/v1/orders", host, "application/json", "{}"}},
	} {
		if _, err := cl.do(r.req, soon()); err != nil {
			t.Fatal(err)
		}
		if s := <-got; s != r.want {
			t.Errorf("the server got %+v, want %+v", s, r.want)
		}
	}
}

func TestClientReusesConnectionsInTurn(t *testing.T) {
	target, conns := rawServer(t, func(n int32, c *net.TCPConn, r *bufio.Reader) {
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
	})
	cl := testClient(t, target, 3)
	var order strings.Builder
	for range 7 {
		ans, err := cl.do(request{path: "/"}, soon())
		if err != nil {
			t.Fatal(err)
		}
		order.Write(ans.body)
	}
	if order.String() != "1231231" {
		t.Errorf("connections were used as %s, want 1231231", &order)
	}
	if _, err := cl.do(request{path: "/", ownConn: true}, soon()); err != nil {
		t.Fatal(err)
	}
	if n := conns.Load(); n != 4 {
		t.Errorf("%d connections were opened, want 3 and one of its own", n)
	}
}

// What net/http's Transport would do without a word: send again on another
// connection when one that was reused dies. The server must see the request
// once, and the client the loss.
func TestClientNeverSendsTwice(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*net.TCPConn)
		want Cause
	}{
		{"server ends the connection instead of answering", func(c *net.TCPConn) { c.Close() }, EOF},
		{"server resets it instead of answering", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }, Reset},
	} {
		for _, kind := range []Kind{Get, Post} {
			t.Run(tt.name+" "+kind.String(), func(t *testing.T) {
				var requests atomic.Int32
				target, conns := rawServer(t, func(_ int32, c *net.TCPConn, r *bufio.Reader) {
					for {
						if _, _, err := readRequest(r); err != nil {
							return
						}
						if requests.Add(1) == 2 {
							tt.end(c)
							return
						}
						io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				})
				cl := testClient(t, target, 1)
				if _, err := cl.do(request{kind: kind, path: "/"}, soon()); err != nil {
					t.Fatal(err)
				}
				_, err := cl.do(request{kind: kind, path: "/"}, soon())
				if err == nil || causeOf(err) != tt.want {
					t.Errorf("got %v, want a failure with cause %d", err, tt.want)
				}
				if n := requests.Load(); n != 2 {
					t.Errorf("the server got %d requests, want 2", n)
				}
				// The place in the pool is free for a new connection.
				if _, err := cl.do(request{kind: kind, path: "/"}, soon()); err != nil {
					t.Errorf("the next request: %v", err)
				}
				if n := conns.Load(); n != 2 {
					t.Errorf("%d connections were opened, want 2", n)
				}
			})
		}
	}
}

// The one exception: a connection is not used once the server's end has arrived.
func TestClientLeavesConnectionsThatTheServerClosed(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*net.TCPConn)
	}{
		{"ended", func(c *net.TCPConn) { c.Close() }},
		{"reset", func(c *net.TCPConn) { c.SetLinger(0); c.Close() }},
		{"unasked answer", func(c *net.TCPConn) { io.WriteString(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			idle := make(chan bool)
			target, conns := rawServer(t, func(n int32, c *net.TCPConn, r *bufio.Reader) {
				if _, _, err := readRequest(r); err != nil {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				if n == 1 {
					<-idle
					tt.end(c)
					idle <- true
				}
				r.ReadByte() // until the client leaves
			})
			cl := testClient(t, target, 1)
			if _, err := cl.do(request{path: "/"}, soon()); err != nil {
				t.Fatal(err)
			}
			idle <- true
			<-idle
			for deadline := soon(); !cl.pool.idle[0].closedByServer(); runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatal("the end of the connection never arrives")
				}
			}
			if _, err := cl.do(request{path: "/"}, soon()); err != nil {
				t.Errorf("got %v, want the request on a new connection", err)
			}
			if n := conns.Load(); n != 2 {
				t.Errorf("%d connections were opened, want 2", n)
			}
		})
	}
}

func TestClientRefusedAndHanging(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := "http://" + l.Addr().String()
	cl := testClient(t, target, 1)

	// It listens, but nobody ever answers.
	if _, err := cl.do(request{path: "/"}, time.Now().Add(20*time.Millisecond)); causeOf(err) != Timeout {
		t.Errorf("hanging: got %v", err)
	}
	l.Close()
	if _, err := cl.do(request{path: "/"}, soon()); causeOf(err) != Refused {
		t.Errorf("closed: got %v", err)
	}
	if cl.pool.places != 0 {
		t.Errorf("%d places in the pool are taken by connections that are none", cl.pool.places)
	}
}

func TestCauseOf(t *testing.T) {
	op := func(op string, err error) error {
		return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, err)}
	}
	tests := []struct {
		err  error
		want Cause
	}{
		{op("dial", syscall.ECONNREFUSED), Refused},
		{op("dial", syscall.EHOSTUNREACH), Refused},
		{op("dial", syscall.ECONNRESET), Reset}, // accepted and reset before connect returned
		{op("dial", syscall.ETIMEDOUT), Timeout},
		{op("dial", syscall.EADDRNOTAVAIL), Overload},
		{op("dial", syscall.EMFILE), Overload},
		{op("read", syscall.ECONNRESET), Reset},
		{op("write", syscall.EPIPE), Reset},
		{fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), Timeout},
		{io.EOF, EOF},
		{io.ErrUnexpectedEOF, EOF},
		{errTooLong, BadAnswer},
		{errors.New("malformed HTTP response"), BadAnswer},
	}
	for _, tt := range tests {
		if got := causeOf(tt.err); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestJudgePosts(t *testing.T) {
	tests := []struct {
		status int
		body   string
		want   Cause
	}{
		{200, `{"id":"run-1"}`, None},
		{201, `{"status":"accepted","id":"run-1"}`, None},
		{200, `{"id":"run-2"}`, BadAnswer},
		{200, `{}`, BadAnswer},
		{200, `run-1`, BadAnswer},
		{204, ``, BadAnswer},
		{500, `{"id":"run-1"}`, BadStatus},
	}
	for _, tt := range tests {
		status, cause := judge(Post, "run-1", answer{tt.status, []byte(tt.body)}, nil)
		if int(status) != tt.status || cause != tt.want {
			t.Errorf("%d %s: got %d, cause %d, want cause %d", tt.status, tt.body, status, cause, tt.want)
		}
	}
}
