package lifecycle_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// The whole of main for a service that keeps no state. It cannot run here: it
// waits for SIGTERM.
func Example() {
	srv := &http.Server{Addr: ":8080", Handler: http.DefaultServeMux}
	l := lifecycle.New(lifecycle.Options{Addr: ":8081", CutRecord: os.Stdout})
	if err := l.HTTP(srv).Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A service that loads its state before it is ready and saves it at the end. Drain
// stands in for SIGTERM.
func ExampleLifecycle_OnSave() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	l := lifecycle.New(lifecycle.Options{
		Grace:            10 * time.Second,      // normally from EVENKEEL_GRACE_SECONDS
		PropagationFloor: 50 * time.Millisecond, // nobody balances here
	})
	loaded := make(chan struct{})
	l.OnStart(func(context.Context) error {
		fmt.Println("loading")
		close(loaded)
		return nil
	})
	l.OnSave(func(context.Context) error {
		fmt.Println("saving")
		return nil
	})
	l.HTTPListener(&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	})}, ln)

	done := make(chan error)
	go func() { done <- l.Run(context.Background()) }()
	<-loaded

	resp, err := http.Get("http://" + ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Printf("%s\n", body)

	l.Drain()
	fmt.Println("ended:", <-done)
	// Output:
	// loading
	// hello
	// saving
	// ended: <nil>
}

// Server-sent events. Every event carries an id; when it is this stream's turn to
// end, the client is told when to come back, and a browser then says by itself,
// in Last-Event-ID, from where to go on.
func ExampleLifecycle_Stream() {
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
	http.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		ctx, done := l.Stream(r.Context())
		defer done()
		id, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				id++
				fmt.Fprintf(w, "id: %d\ndata: %s\n\n", id, time.Now())
				_ = http.NewResponseController(w).Flush()
			case <-ctx.Done():
				if context.Cause(ctx) == lifecycle.ErrDraining {
					fmt.Fprintf(w, "retry: %d\n\n", rand.IntN(1000)) // milliseconds
				}
				return
			}
		}
	})
	if err := l.HTTP(&http.Server{Addr: ":8080"}).Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// Handlers and a consumer give work to a pool, and the pool gives results to a
// writer. They end in this order, so nothing stays in the queues between them.
func ExampleLifecycle_Job() {
	l := lifecycle.New(lifecycle.Options{Grace: 10 * time.Second})
	work, results := make(chan int, 10), make(chan int, 10)
	pass := func(in <-chan int, do func(int)) func(context.Context) error {
		return func(ctx context.Context) error {
			for {
				select {
				case n := <-in:
					do(n)
				case <-ctx.Done(): // nobody puts in anything any more
					for len(in) > 0 {
						do(<-in)
					}
					return nil
				}
			}
		}
	}
	l.Consumer("reader", func(ctx context.Context) error {
		for n := range 3 {
			work <- n
		}
		l.Drain() // stands in for SIGTERM
		<-ctx.Done()
		fmt.Println("reader ended")
		return nil
	})
	l.Job("pool", pass(work, func(n int) { results <- n * n }))
	l.Job("writer", pass(results, func(n int) { fmt.Println("written:", n) }), "pool")
	fmt.Println("ended:", l.Run(context.Background()))
	// Unordered output:
	// reader ended
	// written: 0
	// written: 1
	// written: 4
	// ended: <nil>
}

// Phases can be waited for, here to give up a leadership as soon as the machine
// is announced to go, which may be long before SIGTERM.
func ExampleLifecycle_Reached() {
	l := lifecycle.New(lifecycle.Options{
		Grace:            10 * time.Second,
		PropagationFloor: -1,
	})
	go func() {
		<-l.Reached(lifecycle.Noticed)
		fmt.Println("leadership given up")
		l.Drain()
	}()
	l.Notice(time.Now().Add(2 * time.Minute))
	fmt.Println("ended:", l.Run(context.Background()))
	// Unordered output:
	// leadership given up
	// ended: <nil>
}
