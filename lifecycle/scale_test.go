package lifecycle

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// scaleClient in the environment makes the test binary the clients of
// TestDrainOfManyConnections: in one process both ends would need too many files.
const scaleClient = "LIFECYCLE_TEST_SCALE_CLIENT"

const (
	scaleConns   = 10_000 // idle, HTTP/1.1
	scaleStreams = 10_000 // open, over h2c
	scalePerConn = 200    // streams
)

// 10,000 idle keep-alive connections and 10,000 open streams are drained within
// the budget: every stream is told and ends with its token, every connection is
// closed in order.
func TestDrainOfManyConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("opens 10,050 connections")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < scaleConns+scaleStreams/scalePerConn+100 {
		t.Skipf("needs 10,150 open files, the limit is %d (%v)", limit.Max, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const grace = 20 * time.Second
	l := New(Options{Grace: grace, PropagationFloor: 500 * time.Millisecond, TerminationLog: "none"})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /idle", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		ctx, done := l.Stream(r.Context())
		defer done()
		_ = http.NewResponseController(w).Flush()
		<-ctx.Done()
		if context.Cause(ctx) == ErrDraining {
			_, _ = io.WriteString(w, "id: 42\n\n")
		}
	})
	srv := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan error, 1)
	go func() { done <- l.HTTPListener(srv, ln).Run(context.WithoutCancel(t.Context())) }()

	client := exec.CommandContext(t.Context(), os.Args[0])
	client.Env = append(os.Environ(), scaleClient+"="+ln.Addr().String())
	client.Stderr = os.Stderr
	out, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("clients: %q", lines.Text())
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if s := l.Stats(); s.IdleConnections == scaleConns && s.Streams.Open == scaleStreams {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%d idle connections, %d streams", s.IdleConnections, s.Streams.Open)
		}
	}

	begun := time.Now()
	l.Drain()
	err = <-done
	took := time.Since(begun)
	if err != nil {
		t.Errorf("Run: %v", err)
	}
	if took >= grace {
		t.Errorf("took %s of %s", took, grace)
	}
	var r scaleResult
	if !lines.Scan() {
		t.Fatalf("clients: %v", lines.Err())
	}
	if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
		t.Fatalf("clients: %q: %v", lines.Text(), err)
	}
	if err := client.Wait(); err != nil {
		t.Errorf("clients: %v", err)
	}
	if r.Closed != scaleConns || r.Resumable != scaleStreams {
		t.Errorf("%+v", r)
	}
	s := l.Stats()
	if s.Streams.HandedOver != scaleStreams || s.Streams.Cut != 0 {
		t.Errorf("streams %+v", s.Streams)
	}
	t.Logf("%d idle connections and %d streams drained in %s of %s: propagate %s, discourage %s, finish %s",
		scaleConns, scaleStreams, took.Round(time.Millisecond), grace, s.PhaseDuration[Propagate].Round(time.Millisecond),
		s.PhaseDuration[Discourage].Round(time.Millisecond), s.PhaseDuration[Finish].Round(time.Millisecond))
}

// scaleResult is what the clients saw.
type scaleResult struct {
	Closed    int64 // idle connections that ended with EOF
	Resumable int64 // streams that ended with their token and then EOF
	Errors    []string
}

// scaleClients opens everything, says "open", and reports how it all ended.
func scaleClients(addr string) error {
	var closed, resumable atomic.Int64
	var mu sync.Mutex
	var r scaleResult
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if len(r.Errors) < 5 {
			r.Errors = append(r.Errors, err.Error())
		}
	}
	var opening, open sync.WaitGroup
	few := make(chan struct{}, 64) // connecting at once, for the sake of the backlog
	for range scaleConns {
		opening.Add(1)
		open.Go(func() {
			few <- struct{}{}
			c, err := net.Dial("tcp", addr)
			if err == nil {
				defer c.Close()
				_, err = fmt.Fprintf(c, "GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			var buf [512]byte
			if err == nil {
				_, err = c.Read(buf[:])
			}
			<-few
			opening.Done()
			if err == nil {
				if _, err = c.Read(buf[:]); err == io.EOF {
					closed.Add(1)
					return
				}
			}
			fail(fmt.Errorf("idle: %v", err))
		})
	}
	for range scaleStreams / scalePerConn {
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: transport}
		for range scalePerConn {
			opening.Add(1)
			open.Go(func() {
				few <- struct{}{}
				resp, err := client.Get("http://" + addr + "/events")
				<-few
				opening.Done()
				if err == nil {
					defer resp.Body.Close()
					var body []byte
					if body, err = io.ReadAll(resp.Body); err == nil && strings.HasPrefix(string(body), "id: 42") {
						resumable.Add(1)
						return
					}
				}
				fail(fmt.Errorf("stream: %v", err))
			})
		}
	}
	opening.Wait()
	fmt.Println("open")
	open.Wait()
	r.Closed, r.Resumable = closed.Load(), resumable.Load()
	return json.NewEncoder(os.Stdout).Encode(r)
}
