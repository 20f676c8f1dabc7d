package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// http2Client is a number of clients of HTTP/2 without TLS, each with one
// connection, used in turn. It is net/http's, with its own rule for repeating: what
// a GOAWAY says was not processed is sent again, if there is a body to send.
type http2Client struct {
	transports []*http.Transport
	next       atomic.Int64
	replay     bool
	call       string // gRPC method; empty for plain HTTP/2
}

// http2Clients is how many there are.
const http2Clients = 12

func newHTTP2Client(t *table, replay bool, call string) *http2Client {
	c := &http2Client{replay: replay, call: call}
	for range http2Clients {
		c.transports = append(c.transports, newHTTP2Transport(t))
	}
	return c
}

func newHTTP2Transport(t *table) *http.Transport {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{
		Protocols:          &protocols,
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := t.dial(ctx)
			if err != nil {
				return nil, err // a nil interface, not a nil *endpointConn
			}
			return c, nil
		},
	}
}

// emptyMessage is one of gRPC.
var emptyMessage = []byte{0, 0, 0, 0, 0}

func (c *http2Client) do(ctx context.Context, r request) (answer, error) {
	a := answer{process: nowhere}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if ec, ok := i.Conn.(*endpointConn); ok {
			a.process = ec.process
		}
	}})
	var body io.Reader
	method, path := methodOf(r.kind), r.path
	switch {
	case c.call != "":
		method, path, body = http.MethodPost, c.call, bytes.NewReader(emptyMessage)
	case r.kind == slowPost:
		body = newSlowBody(ctx, r)
	case r.kind == post && c.replay:
		body = strings.NewReader(r.body)
	case r.kind == post:
		body = io.MultiReader(strings.NewReader(r.body)) // of a type that net/http cannot rewind
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://conform"+path, body)
	if err != nil {
		return a, err
	}
	req.Header.Set("X-Request-Id", r.id)
	if c.call != "" {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	n := int(c.next.Add(1)) % len(c.transports)
	resp, err := c.transports[n].RoundTrip(req)
	if err != nil {
		if p := processOf(err); p != nowhere {
			a.process = p
		}
		return a, err
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return a, err
	}
	if c.call != "" {
		return a, grpcError(resp)
	}
	return a, nil
}

// grpcError returns nil for a call that ended with OK.
func grpcError(resp *http.Response) error {
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status")
	}
	switch status {
	case "0":
		return nil
	case "":
		return errors.New("grpc-status missing")
	}
	return fmt.Errorf("grpc-status %s", status)
}

func (c *http2Client) close() {
	for _, t := range c.transports {
		t.CloseIdleConnections()
	}
}
