// Package lifecycleconnect ends the streams of connect handlers when the process
// ends.
//
// Connect handlers are handlers of net/http: served by lifecycle.Lifecycle.HTTP
// they are counted, waited for and told to leave like any other. What is special
// is that a stream of answers has no end of its own; with
//
//	greetconnect.NewGreetServiceHandler(greeter{}, connect.WithInterceptors(lifecycleconnect.Interceptor(l)))
//
// its context ends with lifecycle.ErrDraining when its turn comes. The client
// sees the stream end without an error and with the trailer DrainingTrailer.
package lifecycleconnect

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

const (
	// DrainingTrailer is "true" on a stream that ended because the process ends.
	DrainingTrailer = "Evenkeel-Draining"

	// ResumeTrailer is the token with which the client goes on elsewhere. A
	// handler sets it in the ResponseTrailer before it returns, when context.Cause
	// of its context is lifecycle.ErrDraining.
	ResumeTrailer = "Evenkeel-Resume"
)

// Interceptor returns the interceptor for handlers; on clients it does nothing.
func Interceptor(l *lifecycle.Lifecycle) connect.Interceptor { return interceptor{l} }

type interceptor struct{ l *lifecycle.Lifecycle }

func (interceptor) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

func (interceptor) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler leaves streams of requests with one answer alone: they end
// by themselves.
func (i interceptor) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, c connect.StreamingHandlerConn) error {
		kind := c.Spec().StreamType
		if kind != connect.StreamTypeServer && kind != connect.StreamTypeBidi {
			return next(ctx, c)
		}
		ctx, done := i.l.Stream(ctx)
		defer done()
		if kind == connect.StreamTypeBidi {
			c = &conn{StreamingHandlerConn: c, ctx: ctx}
		}
		err := next(ctx, c)
		if context.Cause(ctx) != lifecycle.ErrDraining {
			return err
		}
		c.ResponseTrailer().Set(DrainingTrailer, "true")
		if errors.Is(err, lifecycle.ErrDraining) || errors.Is(err, context.Canceled) || connect.CodeOf(err) == connect.CodeCanceled {
			return nil
		}
		return err
	}
}

// conn is a connection whose Receive ends when the stream's turn comes.
type conn struct {
	connect.StreamingHandlerConn
	ctx       context.Context
	abandoned bool // owned by the one goroutine that may call Receive
}

// Receive returns lifecycle.ErrDraining when the stream's turn comes. A message
// that comes after that is left to the next server.
func (c *conn) Receive(m any) error {
	if c.abandoned {
		return lifecycle.ErrDraining
	}
	received := make(chan error, 1)
	go func() { received <- c.StreamingHandlerConn.Receive(m) }()
	select {
	case err := <-received:
		return err
	case <-c.ctx.Done():
	}
	select {
	case err := <-received: // both at once: not lost
		return err
	default:
	}
	if context.Cause(c.ctx) != lifecycle.ErrDraining {
		return <-received
	}
	c.abandoned = true // the goroutine ends with the request
	return lifecycle.ErrDraining
}
