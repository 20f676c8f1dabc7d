package serviceproxy

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// relay passes bytes between a client and its endpoint until both directions
// have ended, and owns both connections: they are closed when it returns.
//
// It must not be noticed. An end of stream is passed on as one (CloseWrite), so
// that keep-alive and half-closed connections mean what they mean without it; a
// reset is passed on as a reset; and when the endpoint's address has gone
// silent, nothing is passed on any more.
func relay(ctx context.Context, client, endpoint *net.TCPConn, silent <-chan struct{}) Outcome {
	defer client.Close()
	defer endpoint.Close()

	up := make(chan error, 1)   // client to endpoint
	down := make(chan error, 1) // endpoint to client
	go func() { up <- pass(endpoint, client, silent) }()
	go func() { down <- pass(client, endpoint, silent) }()

	// A direction that ended well is nil here: nothing more to wait for.
	clientDone := false
	for upEnd, downEnd := up, down; upEnd != nil || downEnd != nil; {
		var err error
		select {
		case err = <-upEnd:
			upEnd = nil
			clientDone = err == nil
		case err = <-downEnd:
			downEnd = nil
		case <-silent:
			err = errSilent
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err == nil {
			continue
		}

		// It ends early. Pull the other direction out of its read or write, so
		// that nobody but this function touches the connections.
		client.SetDeadline(longAgo)
		endpoint.SetDeadline(longAgo)
		if upEnd != nil {
			<-upEnd
		}
		if downEnd != nil {
			<-downEnd
		}
		why := brokenBy(ctx, silent)
		switch why {
		case Silenced:
			hang(ctx, client, clientDone)
		case Reset:
			reset(client)
			reset(endpoint)
		}
		return why
	}
	return Closed
}

// brokenBy says why a connection ended early. The error that came with it does
// not count: a reset may be the first sign of the kill that follows a cut.
func brokenBy(ctx context.Context, silent <-chan struct{}) Outcome {
	switch {
	case ctx.Err() != nil:
		return Shutdown
	case isSilent(silent):
		return Silenced
	default:
		return Reset
	}
}

// errSilent says that a direction stopped because its endpoint is silent. It
// never leaves relay.
var errSilent = errors.New("endpoint is silent")

// longAgo as a deadline ends reads and writes that are under way.
var longAgo = time.Unix(1, 0)

// pass copies src to dst and then passes the end of the stream on.
// TCPConn.ReadFrom moves the bytes with splice(2): they are forwarded as soon as
// they arrive and never enter this process.
func pass(dst, src *net.TCPConn, silent <-chan struct{}) error {
	if _, err := dst.ReadFrom(src); err != nil {
		return err
	}
	// An address is cut before its processes are killed, so an end of stream
	// that comes from the kill finds the channel closed already.
	if isSilent(silent) {
		return errSilent
	}
	return dst.CloseWrite()
}

// hang keeps the connection of a client whose endpoint is silent: it gets no
// answer, no end and no reset until it gives up or ctx ends. What it still
// sends is dropped, which is how its going away is noticed.
//
// An end of what the client sends is taken for its going away: the two look the
// same from here. But a client that had said before the silence that it is done
// sending cannot be seen to leave any more, and keeps its connection until ctx
// ends.
func hang(ctx context.Context, client *net.TCPConn, clientDone bool) {
	if clientDone {
		<-ctx.Done()
		return
	}
	client.SetDeadline(time.Time{})
	defer context.AfterFunc(ctx, func() { client.SetDeadline(longAgo) })()
	io.Copy(io.Discard, client) // its error is the client's going away, which is what is waited for
}

// reset makes closing c send a reset, which drops what is still unsent.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}

func isSilent(silent <-chan struct{}) bool {
	select {
	case <-silent:
		return true
	default:
		return false
	}
}
