package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// maxBody bounds an order, in bytes.
const maxBody = 64 << 10

// engine answers requests. It holds no state that another replica would miss.
type engine struct {
	book   *book
	ledger *ledger
	work   func(context.Context) // takes the service time; nil takes none
	now    func() time.Time
}

func newEngine(seed uint64, ledgerTo io.Writer) *engine {
	return &engine{book: newBook(seed), ledger: &ledger{to: ledgerTo}, now: time.Now}
}

// warm builds the listed series and returns when that is done and the given time
// has passed.
func (e *engine) warm(ctx context.Context, atLeast time.Duration) error {
	rest := time.NewTimer(atLeast)
	defer rest.Stop()
	for _, symbol := range listed {
		e.book.add(symbol)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	select {
	case <-rest.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *engine) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/quote", e.quote)
	mux.HandleFunc("POST /v1/orders", e.order)
	return mux
}

func (e *engine) quote(w http.ResponseWriter, r *http.Request) {
	symbol := r.URL.Query().Get("symbol")
	if !validSymbol(symbol) {
		writeProblem(w, http.StatusBadRequest, problem{"invalid_field", "symbol", "must be 1 to 16 of A-Z, 0-9, '.', '-' and '='"})
		return
	}
	if e.work != nil {
		e.work(r.Context())
	}
	writeJSON(w, http.StatusOK, e.book.quote(symbol))
}

// order is the body of a POST.
type order struct {
	ID       string `json:"id"`
	Symbol   string `json:"symbol"`
	Quantity int64  `json:"quantity"`
}

// receipt answers an order that is in the ledger.
type receipt struct {
	ID       string    `json:"id"`
	Symbol   string    `json:"symbol"`
	Quantity int64     `json:"quantity"`
	Price    float64   `json:"price"`
	At       time.Time `json:"at"`
	Count    int64     `json:"count"` // orders in the ledger of this process
}

func (e *engine) order(w http.ResponseWriter, r *http.Request) {
	var o order
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		status, p := http.StatusBadRequest, problem{"invalid_body", "", err.Error()}
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status, p = http.StatusRequestEntityTooLarge, problem{"body_too_large", "", fmt.Sprintf("an order has at most %d bytes", maxBody)}
		}
		writeProblem(w, status, p)
		return
	}
	switch {
	case o.ID == "" || len(o.ID) > 128:
		writeProblem(w, http.StatusBadRequest, problem{"invalid_field", "id", "must have 1 to 128 bytes"})
		return
	case !validSymbol(o.Symbol):
		writeProblem(w, http.StatusBadRequest, problem{"invalid_field", "symbol", "must be 1 to 16 of A-Z, 0-9, '.', '-' and '='"})
		return
	case o.Quantity < 1:
		writeProblem(w, http.StatusBadRequest, problem{"invalid_field", "quantity", "must be positive"})
		return
	}
	if e.work != nil {
		e.work(r.Context())
	}
	// Recorded even if the client has gone by now: it sent the order, and what
	// it never learns about is counted as failed by it, not by the ledger.
	at := e.now().UTC()
	count, err := e.ledger.record(o, at)
	if err != nil {
		writeProblem(w, http.StatusInternalServerError, problem{"not_recorded", "", "the order could not be recorded"})
		return
	}
	writeJSON(w, http.StatusOK, receipt{o.ID, o.Symbol, o.Quantity, e.book.quote(o.Symbol).Price, at, count})
}

// problem is the body of every answer that is an error.
type problem struct {
	Code    string `json:"code"`            // for programs; does not change
	Field   string `json:"field,omitempty"` // what in the request is wrong
	Message string `json:"message"`         // for people
}

func writeProblem(w http.ResponseWriter, status int, p problem) {
	writeJSON(w, status, map[string]problem{"error": p})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone; nobody is left to tell
}

func validSymbol(s string) bool {
	if len(s) < 1 || len(s) > 16 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '=':
		default:
			return false
		}
	}
	return true
}

// newServiceTime returns a function that takes 1 to 15 ms. It waits rather than
// computes: many processes of a rehearsal share few cores, and one must not slow
// the others.
func newServiceTime(seed uint64) func(context.Context) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	return func(ctx context.Context) {
		mu.Lock()
		d := time.Millisecond + time.Duration(random.Int64N(int64(14*time.Millisecond)))
		mu.Unlock()
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}
