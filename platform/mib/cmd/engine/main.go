// Engine follows the prices of the topic of ticks and answers what is known of them:
// indicators, regimes, dates that were like one, what prices did after them. It speaks
// gRPC. Its state is made from the stream.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/engine"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/service"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr)) }

func run(ctx context.Context, args []string, env func(string) string, stderr io.Writer) int {
	var f service.Flags
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	f.Add(flags, env)
	var certificates service.TLS
	certificates.AddServer(flags)
	listen := flags.String("listen", "127.0.0.1:8080", "serve gRPC on this `address:port`")
	data := flags.String("data", "", "keep snapshots in this `folder`; none if empty, and a start reads the stream again")
	warmUp := flags.Int64("warm-up", 200_000, "how many `ticks` of each partition are read again at most without a snapshot")
	if code, ok := service.Parse(flags, args, stderr); !ok {
		return code
	}
	if wrong := certificates.Problem(); wrong != "" {
		_, _ = io.WriteString(stderr, "engine: "+wrong+"; see engine --help\n")
		return 2
	}
	if err := serve(ctx, f, certificates, env, stderr, *listen, *data, *warmUp); err != nil {
		_, _ = io.WriteString(stderr, "engine: "+err.Error()+"\n")
		return 1
	}
	return 0
}

func serve(ctx context.Context, f service.Flags, t service.TLS, env func(string) string, stderr io.Writer, listen, data string, warmUp int64) error {
	s, err := service.New(ctx, "engine", f, env, stderr)
	if err != nil {
		return err
	}
	sample, err := market.LoadPrices(env("EVENKEEL_DATA"))
	if err != nil {
		return err
	}
	if data != "" {
		if err := os.MkdirAll(data, 0o700); err != nil {
			return err
		}
	}
	e := engine.New(engine.Options{Brokers: s.Brokers, Dir: data, WarmUp: warmUp, Logger: s.Log, Client: s.Client()})
	l := s.Lifecycle
	l.OnStart(s.Topics)
	l.OnStart(e.Start)
	l.Job("ticks", e.Run)
	l.OnSave(e.Save)
	l.OnFlush(func(context.Context) error { e.Close(); return nil })

	options := append(service.NewRED(s.Registry).ServerOptions(), s.TraceGRPC()...)
	options = append(options, lifecyclegrpc.ServerOptions(l)...)
	options = append(options, problem.ServerOptions(func(procedure string, err error) { s.Log.Error("call", "procedure", procedure, "err", err) })...)
	certificates, err := s.Certificates(ctx, t)
	if err != nil {
		return err
	}
	if certificates != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(certificates.Server(t.Peers()))))
	}
	g := grpc.NewServer(options...)
	mibv1.RegisterEngineServiceServer(g, &engine.Server{Service: e, Sample: sample})
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	lifecyclegrpc.Serve(l, g, ln)
	if code := s.Run(ctx); code != 0 {
		return errors.New("it did not end as it should; see the log")
	}
	return nil
}
