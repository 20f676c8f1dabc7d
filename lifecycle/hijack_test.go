package lifecycle_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// A WebSocket server as small as one can be: it knows the frame format and
// nothing of lifecycle.
func webSocketHandler(t *testing.T, opened chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_ = rw.Flush()
		opened <- struct{}{}
		for i := 0; ; i++ {
			if _, err := c.Write(fmt.Appendf([]byte{0x81, 6}, "%06d", i)); err != nil {
				if !errors.Is(err, lifecycle.ErrDraining) {
					t.Errorf("writing: %v", err)
				}
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// dialWebSocket opens a WebSocket. The client keeps sending, as chats do.
func dialWebSocket(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /chat/7 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("handshake: %v, %v", resp, err)
	}
	return c, br
}

// lastFrame reads frames until the stream ends and returns the status of the
// Close frame; 0 if there was none or anything followed it.
func lastFrame(br *bufio.Reader) (status uint16, frames int, err error) {
	for ; ; frames++ {
		var head [2]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return status, frames, err
		}
		payload := make([]byte, head[1])
		if _, err := io.ReadFull(br, payload); err != nil {
			return 0, frames, err
		}
		if status != 0 {
			return 0, frames, errors.New("a frame after the Close frame")
		}
		if head[0] == 0x88 {
			status = binary.BigEndian.Uint16(payload)
		}
	}
}

// Clients of WebSockets get 1001 between two frames, whatever library serves
// them, and also through a reverse proxy.
func TestWebSocketsGoAway(t *testing.T) {
	for _, through := range []string{"directly", "through a proxy"} {
		t.Run(through, func(t *testing.T) {
			const clients = 50
			opened := make(chan struct{}, clients)
			var h http.Handler = webSocketHandler(t, opened)
			if through == "through a proxy" {
				backend := listen(t)
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					c, rw, _ := http.NewResponseController(w).Hijack()
					defer c.Close()
					_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
					_ = rw.Flush()
					opened <- struct{}{}
					for {
						if _, err := c.Write([]byte{0x81, 3, 'a', 'b', 'c'}); err != nil {
							return
						}
						time.Sleep(time.Millisecond)
					}
				})}
				go srv.Serve(backend)
				defer srv.Close()
				h = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: backend.Addr().String()})
			}
			l := lifecycle.New(lifecycle.Options{Grace: 20 * time.Second, PropagationFloor: 50 * time.Millisecond})
			ln := listen(t)
			done := run(t, l.HTTPListener(&http.Server{Handler: h}, ln))
			type end struct {
				status uint16
				frames int
				err    error
			}
			ends := make(chan end, clients)
			for range clients {
				c, br := dialWebSocket(t, ln.Addr().String())
				defer c.Close()
				go func() {
					for { // unread bytes at the server must not turn the end into a reset
						if _, err := c.Write([]byte{0x81, 0x80, 0, 0, 0, 0}); err != nil {
							return
						}
						time.Sleep(time.Millisecond)
					}
				}()
				go func() {
					status, frames, err := lastFrame(br)
					ends <- end{status, frames, err}
					c.Close()
				}()
				wait(t, "the handshake", opened)
			}
			if s := l.Stats(); s.Requests[3].InFlight != clients || s.Streams.Open != clients {
				t.Errorf("stats %+v", s)
			}
			l.Drain()
			for range clients {
				if e := wait(t, "a client", ends); e.status != 1001 || e.err != io.EOF {
					t.Errorf("%+v", e)
				}
			}
			if err := wait(t, "the ending", done); err != nil {
				t.Errorf("Run: %v", err)
			}
			if s := l.Stats().Streams; s.HandedOver != clients || s.Cut != 0 {
				t.Errorf("streams %+v", s)
			}
		})
	}
}

// A hijacked connection that speaks something else is in flight until it is
// closed, though its handler has returned, and is cut and named at the deadline.
func TestHijackedConnections(t *testing.T) {
	for _, polite := range []bool{true, false} {
		t.Run(fmt.Sprint("polite=", polite), func(t *testing.T) {
			var record bytes.Buffer
			l := lifecycle.New(lifecycle.Options{Grace: 2 * time.Second, PropagationFloor: -1, CutRecord: &record, TerminationLog: "none"})
			conns := make(chan net.Conn, 1)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /raw/{id}", func(w http.ResponseWriter, r *http.Request) {
				c, rw, _ := w.(http.Hijacker).Hijack()
				_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\n\r\nhello")
				_ = rw.Flush()
				conns <- c
			})
			ln := listen(t)
			done := run(t, l.HTTPListener(&http.Server{Handler: mux}, ln))
			c, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprintf(c, "GET /raw/bob@example.com HTTP/1.1\r\nHost: x\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n")
			server := wait(t, "the connection", conns)
			l.Drain()
			wait(t, "finish", l.Reached(lifecycle.Finish))
			if n := l.Stats().Requests[4].InFlight; n != 1 {
				t.Errorf("%d hijacked connections in flight", n)
			}
			if polite {
				server.Close()
			}
			err = wait(t, "the ending", done)
			if errors.Is(err, lifecycle.ErrCut) == polite {
				t.Errorf("Run: %v", err)
			}
			if !polite && (!bytes.Contains(record.Bytes(), []byte(`"route":"/raw/{id}"`)) || bytes.Contains(record.Bytes(), []byte("bob"))) {
				t.Errorf("record %s", &record)
			}
			_ = c.SetReadDeadline(time.Now().Add(hung))
			if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}
