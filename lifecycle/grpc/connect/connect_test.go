package lifecycleconnect_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecycleconnect "github.com/evenkeel-dev/evenkeel/lifecycle/grpc/connect"
)

// hung is how long a test waits for what must happen at all.
const hung = 30 * time.Second

type (
	empty = emptypb.Empty
	text  = wrapperspb.StringValue
)

// Streams of both kinds, in all protocols that connect speaks, end without an
// error and say from where to go on; a unary call in flight finishes.
func TestStreamsAreHandedOver(t *testing.T) {
	for name, option := range map[string]connect.ClientOption{
		"connect": connect.WithProtoJSON(), "grpc": connect.WithGRPC(), "grpc-web": connect.WithGRPCWeb(),
	} {
		t.Run(name, func(t *testing.T) {
			l := lifecycle.New(lifecycle.Options{Grace: 10 * time.Second, PropagationFloor: 100 * time.Millisecond, TerminationLog: "none"})
			with := connect.WithInterceptors(lifecycleconnect.Interceptor(l))
			release := make(chan struct{})
			mux := http.NewServeMux()
			mux.Handle("/s/Unary", connect.NewUnaryHandler("/s/Unary", func(context.Context, *connect.Request[empty]) (*connect.Response[text], error) {
				<-release
				return connect.NewResponse(&text{Value: "whole"}), nil
			}, with))
			mux.Handle("/s/Out", connect.NewServerStreamHandler("/s/Out", func(ctx context.Context, _ *connect.Request[empty], s *connect.ServerStream[text]) error {
				if err := s.Send(&text{Value: "1"}); err != nil {
					return err
				}
				<-ctx.Done()
				s.ResponseTrailer().Set(lifecycleconnect.ResumeTrailer, "1")
				return ctx.Err()
			}, with))
			mux.Handle("/s/Both", connect.NewBidiStreamHandler("/s/Both", func(_ context.Context, s *connect.BidiStream[text, text]) error {
				for {
					m, err := s.Receive()
					if err != nil {
						return err
					}
					if err := s.Send(m); err != nil {
						return err
					}
				}
			}, with))
			srv := &http.Server{Handler: mux, Protocols: new(http.Protocols)}
			srv.Protocols.SetUnencryptedHTTP2(true)
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- l.HTTPListener(srv, ln).Run(context.WithoutCancel(t.Context())) }()

			transport := &http.Transport{Protocols: srv.Protocols}
			defer transport.CloseIdleConnections()
			client, url := &http.Client{Transport: transport}, "http://"+ln.Addr().String()
			ctx, cancel := context.WithTimeout(t.Context(), hung)
			defer cancel()

			out, err := connect.NewClient[empty, text](client, url+"/s/Out", option).CallServerStream(ctx, connect.NewRequest(&empty{}))
			if err != nil || !out.Receive() {
				t.Fatalf("stream: %v, %v", err, out.Err())
			}
			both := connect.NewClient[text, text](client, url+"/s/Both", option).CallBidiStream(ctx)
			if err := both.Send(&text{Value: "hello"}); err != nil {
				t.Fatal(err)
			}
			if m, err := both.Receive(); err != nil || m.Value != "hello" {
				t.Fatalf("echo: %v, %v", m, err)
			}
			unary := make(chan error, 1)
			go func() {
				r, err := connect.NewClient[empty, text](client, url+"/s/Unary", option).CallUnary(ctx, connect.NewRequest(&empty{}))
				if err == nil && r.Msg.Value != "whole" {
					err = errors.New(r.Msg.Value)
				}
				unary <- err
			}()
			for l.Stats().Requests[1].InFlight < 3 {
				time.Sleep(time.Millisecond)
			}

			l.Drain()
			if out.Receive() || out.Err() != nil {
				t.Errorf("stream: %v, %v", out.Msg(), out.Err())
			}
			if h := out.ResponseTrailer(); h.Get(lifecycleconnect.DrainingTrailer) != "true" || h.Get(lifecycleconnect.ResumeTrailer) != "1" {
				t.Errorf("trailer %v", h)
			}
			if _, err := both.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("both ways: %v", err)
			}
			if h := both.ResponseTrailer(); h.Get(lifecycleconnect.DrainingTrailer) != "true" {
				t.Errorf("trailer %v", h)
			}
			close(release)
			if err := <-unary; err != nil {
				t.Errorf("unary: %v", err)
			}
			_ = both.CloseRequest()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			if s := l.Stats().Streams; s.HandedOver != 2 {
				t.Errorf("streams %+v", s)
			}
		})
	}
}
