// Go-gateway is the entrance of the Market Intel Brain: gRPC, gRPC-Web, connect,
// JSON, server-sent events and WebSockets at one port, in front of the engine and the
// vector store.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/keys"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/limit"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/upstream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/page"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/reload"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/service"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/tlsx"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

const usage = `Usage: go-gateway --engine URL --vector-store URL (--keys FILE | --open) [flags]
       go-gateway key NAME

The first serves until SIGTERM. Brokers are those of KAFKA_BROKERS. The second makes
an API key and the line of a file of keys for it.

Flags
`

// options are the flags.
type options struct {
	service.Flags
	listen              string
	engine, vectorStore versions
	keys                string
	open, faults        bool
	rate                float64
	burst               int
	cache               time.Duration
	service.TLS
	certificates tlsx.Source // nil: plain text
}

// versions is where a service is, and its other versions.
type versions struct {
	url, canary, shadow string
	weight, share       float64
	peers               string
}

func (s *versions) add(f *flag.FlagSet, name, what string) {
	f.StringVar(&s.url, name, "", "`URL` of the "+what+" (required)")
	f.StringVar(&s.canary, name+"-canary", "", "`URL` of a new version that gets a share of requests, until it fails")
	f.Float64Var(&s.weight, name+"-canary-weight", 0.05, "that `share`")
	f.StringVar(&s.shadow, name+"-shadow", "", "`URL` of a version that gets copies, whose answers are compared and not used")
	f.Float64Var(&s.share, name+"-shadow-share", 0.05, "the `share` of requests that is copied")
	f.StringVar(&s.peers, name+"-peers", "", "`names` of its certificate, with commas between; its host if empty")
}

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main with its surroundings passed in. It returns the exit code: 0 for a clean
// ending, 1 if something was lost or could not start, 2 for wrong usage.
func run(ctx context.Context, args []string, env func(string) string, out, errs io.Writer) int {
	if len(args) > 0 && args[0] == "key" {
		return newKey(args[1:], out, errs)
	}
	var o options
	f := flag.NewFlagSet("go-gateway", flag.ContinueOnError)
	f.SetOutput(errs)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "serve on this `address:port`")
	o.Flags.Add(f, env)
	o.engine.add(f, "engine", "engine")
	o.vectorStore.add(f, "vector-store", "vector store")
	f.StringVar(&o.keys, "keys", "", "`file` of API keys; read again when it changes")
	f.BoolVar(&o.open, "open", false, "let anybody ask, without a key")
	f.Float64Var(&o.rate, "rate", 100, "`requests` a second of a client whose key says nothing else; 0 for no limit")
	f.IntVar(&o.burst, "burst", 200, "`requests` of such a client at once")
	f.DurationVar(&o.cache, "cache", 10*time.Second, "keep answers about the past for this `duration`; 0 for not at all")
	o.TLS.Add(f)
	f.BoolVar(&o.faults, "not-production-faults", false, "let requests ask to fail, by a header; for rehearsals")
	if code, ok := service.Parse(f, args, errs); !ok {
		return code
	}
	wrong := ""
	switch {
	case o.engine.url == "" || o.vectorStore.url == "":
		wrong = "--engine and --vector-store are needed"
	case (o.keys == "") == !o.open:
		wrong = "one of --keys and --open is needed"
	case o.Problem() != "":
		wrong = o.Problem()
	case o.Spiffe() && (o.engine.peers == "" || o.vectorStore.peers == ""):
		wrong = "SPIFFE knows no host names: --engine-peers and --vector-store-peers are needed"
	}
	if wrong != "" {
		fmt.Fprintf(errs, "go-gateway: %s; see go-gateway --help\n", wrong)
		return 2
	}
	g, err := service.New(ctx, "go-gateway", o.Flags, env, errs)
	if err == nil {
		err = serve(ctx, o, g)
	}
	if err != nil {
		fmt.Fprintln(errs, "go-gateway:", err)
		return 1
	}
	return 0
}

func newKey(args []string, out, errs io.Writer) int {
	if len(args) != 1 {
		fmt.Fprintln(errs, "go-gateway: key takes one name")
		return 2
	}
	key, line, err := keys.New(args[0])
	if err != nil {
		fmt.Fprintln(errs, "go-gateway:", err)
		return 2
	}
	fmt.Fprintf(out, "key, shown this once:\n%s\nline of the file of keys:\n%s\n", key, line)
	return 0
}

func serve(ctx context.Context, o options, s *service.Service) error {
	l, log := s.Lifecycle, s.Log
	if len(s.Brokers) == 0 {
		return errors.New("set KAFKA_BROKERS, or --brokers")
	}
	var err error
	if o.certificates, err = s.Certificates(ctx, o.TLS); err != nil {
		return err
	}
	metrics := gateway.NewMetrics(s.Registry)
	c := gateway.Config{
		Lifecycle:   l,
		Engine:      newUpstream(s, o, o.engine, "engine", metrics, mibv1connect.NewEngineServiceClient),
		VectorStore: newUpstream(s, o, o.vectorStore, "vector store", metrics, mibv1connect.NewVectorStoreServiceClient),
		Hub:         api.NewHub(), Cache: o.cache, Faults: o.faults, Page: page.Handler(), Metrics: metrics, Log: log, Now: time.Now,
	}
	if o.rate > 0 {
		c.Limits = limit.New(o.rate, o.burst, 100_000)
	}
	if o.keys != "" {
		if c.Keys, err = keys.Open(o.keys); err != nil {
			return err
		}
		l.Job("keys", func(ctx context.Context) error {
			reload.Files(ctx, service.WatchEvery, log, c.Keys.Load, o.keys)
			return nil
		})
	}
	producer, err := kgo.NewClient(append(s.Client(), kgo.SeedBrokers(s.Brokers...))...)
	if err != nil {
		return err
	}
	c.Producer = producer
	l.OnFlush(func(context.Context) error { producer.Close(); return nil })
	// Jobs, not consumers: streams go on until it is their turn to end.
	l.Job("hub", func(ctx context.Context) error { return c.Hub.Run(ctx, s.Brokers, log) })
	l.OnStart(s.Topics)
	srv := &http.Server{
		Addr: o.listen, Handler: s.TraceHTTP(gateway.New(c)), ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10,
		// Longer than clients keep idle connections (Go: 90 s), so that they let go first.
		IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Protocols:   new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	l.HTTP(srv)
	if s.Run(ctx) != 0 {
		return errors.New("it did not end as it should; see the log")
	}
	return nil
}

// newUpstream makes the clients of a service's versions. They speak gRPC.
func newUpstream[C any](g *service.Service, o options, s versions, name string, metrics *gateway.Metrics, newClient func(connect.HTTPClient, string, ...connect.ClientOption) C) *upstream.Upstream[C] {
	at := func(url string) C {
		var c *tls.Config
		if o.certificates != nil {
			c = o.certificates.Client(service.Names(s.peers))
		}
		return newClient(g.TraceClient(upstream.HTTPClient(c, 4)), strings.TrimSuffix(url, "/"), connect.WithGRPC(), connect.WithReadMaxBytes(16<<20))
	}
	var canary, shadow *C
	u := upstream.Options{Name: name, Observer: metrics}
	if s.canary != "" {
		c := at(s.canary)
		canary, u.Canary.Weight = &c, s.weight
	}
	if s.shadow != "" {
		c := at(s.shadow)
		shadow, u.Shadow = &c, s.share
	}
	return upstream.New(u, at(s.url), canary, shadow)
}
