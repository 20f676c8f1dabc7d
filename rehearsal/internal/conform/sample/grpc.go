package sample

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
)

// The methods of the gRPC service. Their messages are empty.
const (
	CallMethod  = "/evenkeel.conform.Sample/Call"  // unary
	WatchMethod = "/evenkeel.conform.Sample/Watch" // a stream of answers without an end
)

// runGRPC serves grpc-go until SIGTERM, and ends as Config.End says. It has no
// health service: balancers of conform do not ask for one.
func runGRPC(c Config) error {
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	if c.End == Library {
		l := lifecycle.New(lifecycle.Options{Addr: c.Health, CutRecord: os.Stderr})
		s := newGRPCServer(lifecyclegrpc.ServerOptions(l)...)
		lifecyclegrpc.Serve(l, s, ln)
		return l.Run(context.Background())
	}

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	s := newGRPCServer()
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-signals:
	}
	switch c.End {
	case Exit:
	case Stop:
		s.Stop()
	case Graceful:
		s.GracefulStop()
	case GracefulFor:
		gracefulFor(s)
	case Sleep:
		time.Sleep(c.Sleep)
		gracefulFor(s)
	default:
		return fmt.Errorf("%q is not a way to end a server of grpc-go", c.End)
	}
	return nil
}

// gracefulFor is GracefulStop with an end.
func gracefulFor(s *grpc.Server) {
	timer := time.AfterFunc(stopAfter, s.Stop)
	defer timer.Stop()
	s.GracefulStop()
}

func newGRPCServer(options ...grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(options...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "evenkeel.conform.Sample",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := decode(new(emptypb.Empty)); err != nil {
				return nil, err
			}
			work(0)
			return new(emptypb.Empty), nil
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Watch", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			if err := errors.Join(s.RecvMsg(new(emptypb.Empty)), s.SendMsg(new(emptypb.Empty))); err != nil {
				return err
			}
			<-s.Context().Done()
			return s.Context().Err()
		}}},
	}, nil)
	return s
}
