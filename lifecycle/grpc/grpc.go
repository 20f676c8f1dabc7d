// Package lifecyclegrpc ends a grpc-go server without losing a call.
//
//	s := grpc.NewServer(lifecyclegrpc.ServerOptions(l)...)
//	pb.RegisterGreeterServer(s, greeter{})
//	lifecyclegrpc.Serve(l, s, ln)
//	err := l.Run(ctx)
//
// Calls are counted, so that the end of the process waits for them and the cut
// record names those that it could not wait for. The health service follows the
// lifecycle. Streams of answers are ended in turn in the discourage phase:
// GracefulStop alone waits for them for ever, because it neither ends their
// contexts nor has a time-out.
//
// Clients see a stream that was ended in this way end with OK and the trailer
// DrainingTrailer; ResumeTrailer says from where to go on, if the handler set it.
//
// Unlike handlers of net/http, those of unary calls do not see WorkContext end;
// their contexts end when the call is cut. Clients that look up names seldom
// (grpc-go: every 30 s) need a longer Options.PropagationFloor.
package lifecyclegrpc

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

const (
	// DrainingTrailer is "true" on a stream that ended because the process ends.
	DrainingTrailer = "evenkeel-draining"

	// ResumeTrailer is the token with which the client goes on elsewhere.
	ResumeTrailer = "evenkeel-resume"
)

// Resume tells the client with which token to go on elsewhere. A handler calls it
// before it returns, when context.Cause of its context is lifecycle.ErrDraining.
func Resume(stream grpc.ServerStream, token string) {
	stream.SetTrailer(metadata.Pairs(ResumeTrailer, token))
}

// ServerOptions returns the options that make a server's calls known to l. They
// add to other interceptors and stats handlers and replace none.
func ServerOptions(l *lifecycle.Lifecycle) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.StatsHandler(counter{l}),
		grpc.ChainStreamInterceptor(streamInterceptor(l)),
	}
}

// Serve makes Run of l serve s on ln, and registers the health service unless s
// has one. The services of s must have been registered before. Run stops s:
// gracefully in the finish phase, and hard at the deadline.
func Serve(l *lifecycle.Lifecycle, s *grpc.Server, ln net.Listener) {
	services := s.GetServiceInfo()
	if _, own := services[healthpb.Health_ServiceDesc.ServiceName]; !own {
		h := &health{l: l, services: map[string]bool{"": true}}
		for name := range services {
			h.services[name] = true
		}
		healthpb.RegisterHealthServer(s, h)
	}
	l.Serve(&server{s, ln})
}

// server makes a grpc.Server a lifecycle.Server.
type server struct {
	s  *grpc.Server
	ln net.Listener
}

var _ lifecycle.Server = (*server)(nil)

func (s *server) Serve() error {
	if err := s.s.Serve(s.ln); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// Shutdown begins GracefulStop and waits for it until ctx ends. It does not stop
// hard then: calls that are still in flight are to be recorded first.
func (s *server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stopTime is how long Close waits for Stop.
const stopTime = 200 * time.Millisecond

// Close does not wait for Stop for long: a GracefulStop whose connections are
// gone waits for handlers that ignore their context, and keeps Stop out.
func (s *server) Close() error {
	done := make(chan struct{})
	go func() {
		s.s.Stop()
		close(done)
	}()
	limit := time.NewTimer(stopTime)
	defer limit.Stop()
	select {
	case <-done:
	case <-limit.C:
	}
	_ = s.ln.Close() // Stop knows it only if Serve was called
	return nil
}

// isHealth reports whether the method is a probe, which is no traffic.
func isHealth(method string) bool { return strings.HasPrefix(method, "/grpc.health.v1.Health/") }

// counter counts calls from their first to their last byte.
type counter struct{ l *lifecycle.Lifecycle }

type countedKey struct{}

func (c counter) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	if isHealth(info.FullMethodName) {
		return ctx
	}
	return context.WithValue(ctx, countedKey{}, c.l.Begin(lifecycle.Call{
		Protocol: "grpc", Route: info.FullMethodName,
		Traceparent: firstValue(ctx, "traceparent"), RequestID: firstValue(ctx, "x-request-id"),
	}))
}

func firstValue(ctx context.Context, key string) string {
	if v := metadata.ValueFromIncomingContext(ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (c counter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	call, ok := ctx.Value(countedKey{}).(*lifecycle.Counted)
	if !ok {
		return
	}
	switch s := s.(type) {
	case *stats.OutPayload:
		call.Sent(s.WireLength)
	case *stats.End:
		call.End()
	}
}

func (c counter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c counter) HandleConn(context.Context, stats.ConnStats)                       {}

// streamInterceptor ends streams of answers when their turn comes. A stream of
// requests that has one answer ends by itself, and its handler must not take the
// end of the process for the end of the requests.
func streamInterceptor(l *lifecycle.Lifecycle) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if !info.IsServerStream || isHealth(info.FullMethod) {
			return next(srv, ss)
		}
		ctx, done := l.Stream(ss.Context())
		defer done()
		err := next(srv, &stream{ServerStream: ss, ctx: ctx, receives: info.IsClientStream})
		if context.Cause(ctx) != lifecycle.ErrDraining {
			return err
		}
		ss.SetTrailer(metadata.Pairs(DrainingTrailer, "true"))
		if isEnd(err) {
			return nil
		}
		return err
	}
}

// isEnd reports whether a handler that was told to end returned because of that.
func isEnd(err error) bool {
	return err == nil || errors.Is(err, lifecycle.ErrDraining) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// stream is a ServerStream whose context ends when its turn comes.
type stream struct {
	grpc.ServerStream
	ctx       context.Context
	receives  bool // more than one request
	abandoned bool // owned by the one goroutine that may call RecvMsg
}

func (s *stream) Context() context.Context { return s.ctx }

// RecvMsg returns lifecycle.ErrDraining when the stream's turn comes; the handler
// may be waiting here for a client that has nothing to say. A message that comes
// after that is left to the next server: this one does not acknowledge it.
func (s *stream) RecvMsg(m any) error {
	if !s.receives {
		return s.ServerStream.RecvMsg(m)
	}
	if s.abandoned {
		return lifecycle.ErrDraining
	}
	received := make(chan error, 1)
	go func() { received <- s.ServerStream.RecvMsg(m) }()
	select {
	case err := <-received:
		return err
	case <-s.ctx.Done():
	}
	select {
	case err := <-received: // both at once: not lost
		return err
	default:
	}
	if context.Cause(s.ctx) != lifecycle.ErrDraining {
		return <-received
	}
	s.abandoned = true // the goroutine ends with the stream
	return lifecycle.ErrDraining
}
