package lifecycle_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// The whole of main for a service that keeps no state. It cannot run here: it
// waits for SIGTERM.
func Example() {
	srv := &http.Server{Addr: ":8080", Handler: http.DefaultServeMux}
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
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

// A long stream ends when the phase for it begins, and its client resumes
// elsewhere.
func ExampleLifecycle_Reached() {
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(w, "id: %d\n\n", time.Now().Unix())
				_ = http.NewResponseController(w).Flush()
			case <-l.Reached(lifecycle.Discourage):
				return
			case <-r.Context().Done():
				return
			}
		}
	})
}
