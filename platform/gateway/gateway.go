package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	maxBody   = 64 << 10 // of an order, in bytes
	maxAnswer = 1 << 20  // of the engine, in bytes
)

// gateway passes requests to the engine. It keeps no state.
type gateway struct {
	engine    *url.URL
	timeout   time.Duration
	transport *http.Transport
	log       *slog.Logger
}

func newGateway(engine string, timeout time.Duration, log *slog.Logger) (*gateway, error) {
	u, err := url.Parse(engine)
	if err != nil {
		return nil, fmt.Errorf("--engine: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("--engine %q is not an http or https URL", engine)
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("--timeout %s is not positive", timeout)
	}
	return &gateway{engine: u, timeout: timeout, log: log, transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		// Less than an ending engine leaves an idle connection open: its floor of
		// 2 s and 15 % of 10 s. So it is always this side that lets go of an idle
		// connection, and no request can meet the engine closing it.
		IdleConnTimeout:    3 * time.Second,
		DisableCompression: true, // answers are small, and passed on as they are
	}}, nil
}

func (g *gateway) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/quote", g.quote)
	mux.HandleFunc("POST /v1/orders", g.order)
	return mux
}

func (g *gateway) quote(w http.ResponseWriter, r *http.Request) {
	id := requestID(w, r)
	symbol := r.URL.Query().Get("symbol")
	if p := checkSymbol(symbol); p != nil {
		p.write(w, id)
		return
	}
	target := g.engine.JoinPath("/v1/quote")
	target.RawQuery = url.Values{"symbol": {symbol}}.Encode()
	g.pass(w, r, id, "GET", target, nil)
}

func (g *gateway) order(w http.ResponseWriter, r *http.Request) {
	id := requestID(w, r)
	o, p := readOrder(w, r)
	if p != nil {
		p.write(w, id)
		return
	}
	body, err := json.Marshal(o)
	if err != nil { // unreachable: strings and a number
		panic(err)
	}
	g.pass(w, r, id, "POST", g.engine.JoinPath("/v1/orders"), body)
}

// pass sends one request to the engine and its answer to the client. The answer
// is read whole before anything is written, so that one that breaks off becomes
// an error and not half an answer.
//
// It never sends a POST twice. http.Transport repeats a request by itself in two
// cases. If the connection from its pool turned out to be dead before the first
// byte was written, nothing can have arrived: that is harmless. If bytes were
// written and no answer came, it repeats what it takes for idempotent: GET, but
// also a POST with an Idempotency-Key header. The request is therefore built anew
// with chosen headers, and a client's Idempotency-Key goes no further than here.
func (g *gateway) pass(w http.ResponseWriter, r *http.Request, id, method string, target *url.URL, body []byte) {
	ctx, cancel := context.WithTimeout(r.Context(), g.timeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), content)
	if err != nil { // unreachable: the URL was parsed at the start
		panic(err)
	}
	req.Header.Set("X-Request-Id", id)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if tp := r.Header.Get("Traceparent"); tp != "" {
		req.Header.Set("Traceparent", tp)
	}

	// RoundTrip and not a Client: redirects and cookies of the engine are none of
	// the gateway's business.
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		g.fail(w, r, id, err)
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("answer of more than %d bytes", maxAnswer)
	}
	if err != nil {
		g.fail(w, r, id, err)
		return
	}
	if ct := resp.Header.Get("Content-Type"); ct != "" {
		w.Header().Set("Content-Type", ct)
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // an error means that the client has gone
}

// fail answers for an engine that did not.
func (g *gateway) fail(w http.ResponseWriter, r *http.Request, id string, err error) {
	p := &problem{status: http.StatusBadGateway, Code: "engine_broke_off", Message: "the engine broke off before its answer was complete"}
	switch dial := new(net.OpError); {
	case r.Context().Err() != nil: // the client has gone: nobody to answer, nobody's fault
		return
	case errors.As(err, &dial) && dial.Op == "dial":
		p = &problem{status: http.StatusServiceUnavailable, Code: "engine_unavailable", Message: "the engine cannot be reached; nothing was sent to it"}
		w.Header().Set("Retry-After", "1")
	case errors.Is(err, context.DeadlineExceeded):
		p = &problem{status: http.StatusGatewayTimeout, Code: "engine_timeout", Message: fmt.Sprintf("the engine did not answer within %s", g.timeout)}
	}
	// Debug: under load a broken engine would otherwise fill the log; the answers
	// tell who is affected.
	g.log.Debug("engine failed", "request_id", id, "code", p.Code, "err", err)
	p.write(w, id)
}

// requestID returns the client's id of a request, or a new one, and sets it on
// the answer.
func requestID(w http.ResponseWriter, r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if !printable(id) || len(id) < 1 || len(id) > 128 {
		id = rand.Text()
	}
	w.Header().Set("X-Request-Id", id)
	return id
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}
