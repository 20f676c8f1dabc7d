// A service with the library: everything that an ending needs is in main.
//
// It answers quotes, takes orders, and has an event stream whose clients resume
// where they stopped. Orders are recorded on standard output, one line of JSON
// each, so that a test can tell whether one was lost or done twice.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

func main() {
	l := lifecycle.New(lifecycle.Options{Addr: "127.0.0.1:" + os.Getenv("HEALTH_PORT")})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", quote)
	mux.HandleFunc("POST /orders", order)
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { events(l, w, r) })
	srv := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux}
	if err := l.HTTP(srv).Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func quote(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(10 * time.Millisecond) // what a database would take
	_, _ = io.WriteString(w, `{"price":42}`)
}

// recording keeps lines of different requests apart.
var recording sync.Mutex

func order(w http.ResponseWriter, r *http.Request) {
	var o struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	time.Sleep(10 * time.Millisecond)
	recording.Lock()
	_, err := fmt.Printf("{\"ledger\":\"order\",\"id\":%q}\n", o.ID)
	recording.Unlock()
	if err != nil {
		http.Error(w, "order not recorded", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(o)
}

// events numbers its events, so that a client can say which one it saw last.
func events(l *lifecycle.Lifecycle, w http.ResponseWriter, r *http.Request) {
	ctx, done := l.Stream(r.Context())
	defer done()
	last, err := strconv.ParseInt(r.Header.Get("Last-Event-ID"), 10, 64)
	if err != nil {
		last = -1
	}
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		last++
		if _, err := fmt.Fprintf(w, "id: %d\ndata: {}\n\n", last); err != nil {
			return
		}
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done(): // the client has gone, or it is this stream's turn to end
			return
		}
	}
}
