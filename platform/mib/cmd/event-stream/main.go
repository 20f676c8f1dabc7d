// Event-stream is a broker for development: it speaks the Kafka protocol, is one node
// without replication, and keeps its topics in a folder, synced. In production there
// is Kafka in its place, and KAFKA_BROKERS says where.
package main

import (
	"context"
	"flag"
	"io"
	"os"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/service"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr)) }

func run(ctx context.Context, args []string, env func(string) string, stderr io.Writer) int {
	var f service.Flags
	flags := flag.NewFlagSet("event-stream", flag.ContinueOnError)
	f.Add(flags, env)
	listen := flags.String("listen", "127.0.0.1:9092", "serve the Kafka protocol on this `address:port`, which is also what clients are told")
	data := flags.String("data", "data/broker", "keep the topics in this `folder`")
	if code, ok := service.Parse(flags, args, stderr); !ok {
		return code
	}
	s, err := service.New(ctx, "event-stream", f, env, stderr)
	if err == nil {
		err = s.Broker(*listen, *data)
	}
	if err != nil {
		_, _ = io.WriteString(stderr, "event-stream: "+err.Error()+"\n")
		return 1
	}
	return s.Run(ctx)
}
