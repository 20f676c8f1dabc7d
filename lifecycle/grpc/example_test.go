package lifecyclegrpc_test

import (
	"context"
	"log"
	"net"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
)

// The whole of main for a gRPC service. It cannot run here: it waits for SIGTERM.
func Example() {
	ln, err := net.Listen("tcp", ":8080")
	if err != nil {
		log.Fatal(err)
	}
	l := lifecycle.New(lifecycle.Options{Addr: ":8081"})
	s := grpc.NewServer(lifecyclegrpc.ServerOptions(l)...)
	pb.RegisterTestServiceServer(s, &service{})
	lifecyclegrpc.Serve(l, s, ln)
	if err := l.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
