package drainproxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stand is a proxy before a server, with switches for what a test changes.
type stand struct {
	proxy    *Proxy
	addr     string // of the proxy
	draining chan struct{}
	gone     atomic.Bool
	end      chan struct{}
	inFlight atomic.Int64

	mu     sync.Mutex
	states map[net.Conn]http.ConnState
}

func newStand(t *testing.T, target string) *stand {
	t.Helper()
	s := &stand{draining: make(chan struct{}), end: make(chan struct{}), states: make(map[net.Conn]http.ConnState)}
	s.proxy = New(Config{
		Target:   target,
		Draining: s.draining,
		Gone:     s.gone.Load,
		Count: func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s.inFlight.Add(1)
				defer s.inFlight.Add(-1)
				h.ServeHTTP(w, r)
			})
		},
		ConnState: func(c net.Conn, st http.ConnState) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.states[c] = st; st == http.StateClosed {
				delete(s.states, c)
			}
		},
		EndStreams:   s.end,
		DialPatience: time.Millisecond,
		FreshTime:    time.Minute, // no test waits for it
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()

	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	handed := make(chan net.Conn)
	srv := &http.Server{Handler: s.proxy.TakeLeave(s.discourage(s.proxy.HTTP2())), Protocols: &protocols, ConnContext: s.proxy.ConnContext, ConnState: s.proxy.HTTP2State}
	served := make(chan error, 2)
	go func() { served <- srv.Serve(chanListener{ln, handed}) }()
	go func() {
		served <- s.proxy.Serve(ln, func(c net.Conn) { handed <- c })
		close(handed)
	}()
	t.Cleanup(func() {
		ln.Close()
		srv.Close()
		s.proxy.Close()
		<-served
		<-served
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.states) != 0 {
			t.Errorf("connections left: %v", s.states)
		}
	})
	return s
}

// discourage does what lifecycle.Handler does while it drains.
func (s *stand) discourage(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.proxy.draining() {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// chanListener accepts what is sent to it.
type chanListener struct {
	net.Listener
	conns chan net.Conn
}

func (l chanListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

// server starts a server of net/http.
func server(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.Config.Protocols = &protocols
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Seen-For", r.Header.Get("X-Forwarded-For"))
	w.Header().Set("X-Seen-Host", r.Host)
	_, _ = w.Write(body)
}

// dial returns a connection to the proxy.
func (s *stand) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // hung
	return c, bufio.NewReader(c)
}

// ask sends raw bytes and reads one answer, with its body.
func ask(t *testing.T, c net.Conn, r *bufio.Reader, method, raw string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, r, method)
}

func readAnswer(t *testing.T, r *bufio.Reader, method string) (*http.Response, string) {
	t.Helper()
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPassesRequests(t *testing.T) {
	s := newStand(t, server(t, echo))
	large := make([]byte, 3<<20)
	_, _ = rand.Read(large)
	for _, tt := range []struct {
		name string
		body io.Reader // of a type that decides the framing
		want []byte
	}{
		{"empty", nil, nil},
		{"short", strings.NewReader("hello"), []byte("hello")},
		{"large", bytes.NewReader(large), large},
		{"chunked", io.MultiReader(strings.NewReader("hello"), strings.NewReader(" world")), []byte("hello world")},
		{"large chunked", io.MultiReader(bytes.NewReader(large)), large},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 3 { // on one connection
				if r, ok := tt.body.(io.Seeker); ok {
					_, _ = r.Seek(0, io.SeekStart)
				} else if tt.body != nil {
					tt.body = io.MultiReader(bytes.NewReader(tt.want))
				}
				resp, err := http.Post("http://"+s.addr+"/x?y", "text/plain", tt.body)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, tt.want) {
					t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(tt.want))
				}
				if got := resp.Header.Get("X-Seen-For"); got != "127.0.0.1" {
					t.Errorf("X-Forwarded-For %q", got)
				}
				if got := resp.Header.Get("X-Seen-Host"); got != s.addr {
					t.Errorf("Host %q, want %q", got, s.addr)
				}
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestPipelinedAndHead(t *testing.T) {
	s := newStand(t, server(t, echo))
	c, r := s.dial(t)
	_, err := io.WriteString(c, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"", "hi", ""} {
		method := []string{"HEAD", "POST", "GET"}[i]
		if _, got := readAnswer(t, r, method); got != want {
			t.Errorf("answer %d: %q, want %q", i, got, want)
		}
	}
}

func TestExpectContinue(t *testing.T) {
	s := newStand(t, server(t, echo))
	c, r := s.dial(t)
	resp, _ := ask(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %s before the body", resp.Status)
	}
	if _, got := ask(t, c, r, "POST", "hi"); got != "hi" {
		t.Errorf("got %q", got)
	}
}

func TestRefusesAmbiguity(t *testing.T) {
	var seen atomic.Int64
	s := newStand(t, server(t, func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	c, r := s.dial(t)
	resp, _ := ask(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	if resp.StatusCode != http.StatusBadRequest || !resp.Close || seen.Load() != 0 {
		t.Errorf("got %s, close %v; the server saw %d", resp.Status, resp.Close, seen.Load())
	}
}

// While draining, the answer to a request that was already under way says close,
// too, and the connection ends after it.
func TestDraining(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newStand(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		w.Header().Set("Connection", "keep-alive")
		_, _ = io.WriteString(w, "ok")
	}))
	c, r := s.dial(t)
	if resp, _ := ask(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); resp.Close {
		t.Fatal("told to leave while nothing drains")
	}
	if _, err := io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if n := s.inFlight.Load(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	close(s.draining)
	close(release)
	resp, body := readAnswer(t, r, "GET")
	if !resp.Close || body != "ok" {
		t.Errorf("close %v, body %q", resp.Close, body)
	}
	if len(resp.Header.Values("Connection")) > 1 {
		t.Errorf("Connection: %q", resp.Header.Values("Connection"))
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last answer: %v, want the end", err)
	}
}

// An idle connection ends at CloseIdle; a busy one after its answer.
// What a client has sent before its connection is closed is answered, whether or
// not anybody has read it; only then does Shutdown return, and the server may go.
func TestShutdown(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	s := newStand(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
	}))
	idle, idleReader := s.dial(t)
	ask(t, idle, idleReader, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	busy, busyReader := s.dial(t)
	if _, err := io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-arrived
	fresh, freshReader := s.dial(t) // its first request is on its way
	down := make(chan error, 1)
	go func() { down <- s.proxy.Shutdown(t.Context()) }()
	if _, err := idleReader.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %v, want the end", err)
	}
	if resp, _ := ask(t, fresh, freshReader, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("first request on a new connection: %s, last %v", resp.Status, resp.Close)
	}
	select {
	case err := <-down:
		t.Errorf("Shutdown returned %v with a request in flight", err)
	default:
	}
	close(release)
	if resp, _ := readAnswer(t, busyReader, "GET"); !resp.Close {
		t.Error("the last answer does not say that it is the last")
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// No connection is lost between the decision to close it and a request that
// arrives at that moment: each is answered, or its client is told before it sends.
func TestShutdownUnderLoad(t *testing.T) {
	for range 20 {
		s := newStand(t, server(t, func(http.ResponseWriter, *http.Request) {}))
		const clients = 20
		var sent sync.WaitGroup
		sent.Add(clients)
		failed := make(chan error, clients)
		for range clients {
			c, r := s.dial(t)
			ask(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			go func() {
				_, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
				sent.Done()
				if err == nil {
					_, err = http.ReadResponse(r, nil)
				}
				failed <- err
			}()
		}
		sent.Wait() // in the kernel; some have been read by now, some not
		if err := s.proxy.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.gone.Store(true) // whoever is served from here on gets 503
		for range clients {
			if err := <-failed; err != nil {
				t.Errorf("a request that was sent before Shutdown: %v", err)
			}
		}
	}
}

func TestServerGone(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	s := newStand(t, ln.Addr().String())
	s.gone.Store(true)
	c, r := s.dial(t)
	resp, _ := ask(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || !resp.Close {
		t.Errorf("got %s, Retry-After %q, close %v", resp.Status, resp.Header.Get("Retry-After"), resp.Close)
	}
}

// rawServer serves each connection by a function of its own.
func rawServer(t *testing.T, serve func(n int, c net.Conn, r *bufio.Reader)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// A server that closes a kept connection just as it is used: what is safe to
// repeat is repeated, the rest is not.
func TestServerClosesKeptConnection(t *testing.T) {
	var posts atomic.Int64
	addr := rawServer(t, func(n int, c net.Conn, r *bufio.Reader) {
		for i := 0; ; i++ {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			if req.Method == http.MethodPost {
				posts.Add(1)
			}
			if i == 1 { // the second request on a connection gets no answer
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
		}
	})
	s := newStand(t, addr)
	c, r := s.dial(t)
	if _, got := ask(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "0" {
		t.Fatalf("got %q", got)
	}
	if _, got := ask(t, c, r, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); got != "1" {
		t.Fatalf("a GET was not repeated on a new connection: %q", got)
	}
	resp, _ := ask(t, c, r, "POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	if resp.StatusCode != http.StatusBadGateway || posts.Load() != 1 {
		t.Errorf("got %s, the server saw %d POSTs", resp.Status, posts.Load())
	}
}

// A server that breaks off in the middle of an answer: the client must not take
// what it has for the whole.
func TestAnswerBrokenOff(t *testing.T) {
	for name, head := range map[string]string{
		"length": "Content-Length: 10\r\n\r\nabc",
		"chunks": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t, rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
				_, _ = http.ReadRequest(r)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+head)
			}))
			resp, err := http.Get("http://" + s.addr)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("half an answer passed for a whole one")
			}
		})
	}
}

// A client that goes away while it waits is told to the server, as it would be
// without a proxy.
func TestClientGoesAway(t *testing.T) {
	gone := make(chan struct{})
	s := newStand(t, server(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(gone)
	}))
	c, _ := s.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the server never learns that its client has gone")
	}
}

func TestHTTP2WithTrailers(t *testing.T) {
	s := newStand(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("the server got %s", r.Proto)
		}
		w.Header().Set("Trailer", "Grpc-Status")
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("Grpc-Status", "0")
	}))
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.addr+"/a.B/C", strings.NewReader("hi"))
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "hi" || resp.Trailer.Get("Grpc-Status") != "0" {
		t.Errorf("body %q, error %v, trailer %v", body, err, resp.Trailer)
	}
}

// An event stream ends between two events, in a way that its client takes for an
// end, as soon as streams are to end.
func TestEventStreamEnds(t *testing.T) {
	s := newStand(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, "id: 1\ndata: x\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	c, r := s.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "id: 1\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	close(s.end)
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != "data: x\n\n" {
		t.Errorf("the rest is %q, error %v", rest, err)
	}
}

// A WebSocket gets 1001 between two frames; the client's answer reaches the server.
func TestWebSocketGoesAway(t *testing.T) {
	closed := make(chan []byte, 1)
	s := newStand(t, rawServer(t, func(_ int, c net.Conn, r *bufio.Reader) {
		_, _ = http.ReadRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi\x81\x05he")
		b := make([]byte, 1)
		_, _ = io.ReadFull(r, b) // the client has seen half a frame, and streams are to end
		_, _ = io.WriteString(c, "llo")
		got := make([]byte, 8)
		_, _ = io.ReadFull(r, got)
		closed <- got
	}))
	c, r := s.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v, %v", resp, err)
	}
	got := make([]byte, 8)
	if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81\x02hi\x81\x05he" {
		t.Fatalf("got %q, %v", got, err)
	}
	close(s.end)
	if _, err := io.WriteString(c, "x"); err != nil { // stands for a frame
		t.Fatal(err)
	}
	rest := make([]byte, 7)
	if _, err := io.ReadFull(r, rest); err != nil || string(rest) != "llo\x88\x02\x03\xe9" {
		t.Fatalf("got %q, %v", rest, err)
	}
	answer := "\x88\x82\x00\x00\x00\x00\x03\xe9"
	if _, err := io.WriteString(c, answer); err != nil {
		t.Fatal(err)
	}
	if got := string(<-closed); got != answer {
		t.Errorf("the server got %q", got)
	}
}
