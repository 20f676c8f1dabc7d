// Package sample is a service that ends in a way of choice, to be terminated by the
// conformance test: it shows what each way costs. It takes orders, answers quotes,
// and has an event stream, a WebSocket and gRPC health checks.
//
// With Config.GRPC it is a server of grpc-go instead.
//
// It answers as the clock and its own randomness say, and keeps nothing.
package sample

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// End is what the service does at SIGTERM.
type End string

// The ways to end.
const (
	Exit     End = "exit"     // at once
	Shutdown End = "shutdown" // http.Server.Shutdown
	Sleep    End = "sleep"    // readiness off, a fixed sleep, Shutdown
	Close    End = "close"    // the same, and meanwhile every answer says Connection: close
	Off      End = "off"      // the same as Sleep, with keep-alives switched off for the last half second
	Library  End = "library"  // package lifecycle

	// Of grpc-go only.
	Stop        End = "stop"         // Server.Stop
	Graceful    End = "graceful"     // Server.GracefulStop
	GracefulFor End = "graceful-for" // GracefulStop, and Stop when it has taken stopAfter
)

// stopAfter is what GracefulStop gets where it is not left to itself.
const stopAfter = 5 * time.Second

// Config says where to listen and how to end.
type Config struct {
	Addr   string
	Health string // of readiness; may be empty
	End    End
	Sleep  time.Duration // of End Sleep, Close and Off
	Slow   float64       // share of requests that take 2 s
	GRPC   bool          // serve grpc-go, and nothing else
}

// Run serves until SIGTERM, and returns when it has ended as Config.End says.
func Run(c Config) error {
	if c.GRPC {
		return runGRPC(c)
	}
	s := &service{out: bufio.NewWriter(os.Stdout), slow: c.Slow}
	var closing atomic.Bool // answers ask clients to leave
	handler := s.handler()
	srv := &http.Server{Addr: c.Addr, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if closing.Load() {
			w.Header().Set("Connection", "close")
		}
		handler.ServeHTTP(w, r)
	})}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv.Protocols = &protocols

	if c.End == Library {
		l := lifecycle.New(lifecycle.Options{Addr: c.Health, CutRecord: os.Stderr})
		s.life = l
		return l.HTTP(srv).Run(context.Background())
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	var unready atomic.Bool
	health := &http.Server{Addr: c.Health, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if unready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	failed := make(chan error, 2)
	go func() { failed <- srv.ListenAndServe() }()
	if c.Health != "" {
		go func() { failed <- health.ListenAndServe() }()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-signals:
	}
	switch c.End {
	case Exit:
		return nil
	case Shutdown:
		return srv.Shutdown(context.Background())
	case Sleep, Close, Off:
		unready.Store(true)
		closing.Store(c.End == Close)
		time.Sleep(c.Sleep)
		if c.End == Off {
			srv.SetKeepAlivesEnabled(false)
			time.Sleep(500 * time.Millisecond)
		}
		return srv.Shutdown(context.Background())
	}
	return fmt.Errorf("%q is not a way to end", c.End)
}

type service struct {
	life *lifecycle.Lifecycle // nil without the library
	slow float64              // share of requests that take 2 s

	mu  sync.Mutex // guards out
	out *bufio.Writer
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		work(s.slow)
		_, _ = io.WriteString(w, `{"price":42}`)
	})
	mux.HandleFunc("POST /orders", s.order)
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /ws", s.webSocket)
	mux.HandleFunc("POST /grpc.health.v1.Health/Check", s.check)
	mux.HandleFunc("POST /grpc.health.v1.Health/Watch", s.watch)
	return mux
}

// work takes as long as a request to a database: 5 to 50 ms, or, if it is one of
// the slow ones, 2 s.
func work(slow float64) {
	d := time.Duration(5+rand.IntN(46)) * time.Millisecond
	if rand.Float64() < slow {
		d = 2 * time.Second
	}
	time.Sleep(d)
}

func (s *service) order(w http.ResponseWriter, r *http.Request) {
	var o struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	work(s.slow)
	// Recorded before it is answered: an answer is a promise.
	s.mu.Lock()
	fmt.Fprintf(s.out, "{\"ledger\":\"order\",\"id\":%q}\n", o.ID)
	err := s.out.Flush()
	s.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(o)
}

// stream returns a context that ends when a stream has to, and why.
func (s *service) stream(r *http.Request) (ctx context.Context, done func()) {
	if s.life != nil {
		return s.life.Stream(r.Context())
	}
	return r.Context(), func() {}
}

// events sends a number ten times a second, and goes on where its client says that
// it stopped.
func (s *service) events(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.stream(r)
	defer done()
	next, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		next = -1
	}
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		next++
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {}\n\n", next); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// webSocket is an echo that never speaks first. The library closes it with 1001.
func (s *service) webSocket(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := acceptWebSocket(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer conn.Close()
	for {
		var head [2]byte
		if _, err := io.ReadFull(rw, head[:]); err != nil {
			return
		}
		n := int(head[1] & 0x7f)
		if n > 125 || head[1]&0x80 == 0 {
			return // longer than any that this service is sent
		}
		frame := make([]byte, 4+n)
		if _, err := io.ReadFull(rw, frame); err != nil {
			return
		}
		mask, payload := frame[:4], frame[4:]
		for i := range payload {
			payload[i] ^= mask[i%4]
		}
		if _, err := conn.Write(append([]byte{head[0], byte(n)}, payload...)); err != nil || head[0]&0x0f == 8 {
			return
		}
	}
}

func acceptWebSocket(w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.ReadWriter, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		return nil, nil, errors.New("not a WebSocket handshake")
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(key))
	return conn, rw, err
}

// serving is the answer of a health check: status SERVING.
var serving = []byte{0, 0, 0, 0, 2, 0x08, 0x01}

func (s *service) check(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	work(s.slow)
	grpcHeaders(w)
	_, _ = w.Write(serving)
	w.Header().Set("Grpc-Status", "0")
}

func (s *service) watch(w http.ResponseWriter, r *http.Request) {
	ctx, done := s.stream(r)
	defer done()
	_, _ = io.Copy(io.Discard, r.Body)
	grpcHeaders(w)
	_, _ = w.Write(serving)
	_ = http.NewResponseController(w).Flush()
	<-ctx.Done()
	w.Header().Set("Grpc-Status", "0")
}

func grpcHeaders(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
}
