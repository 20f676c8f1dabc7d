// Vector-store is a replica of the documents: it follows the topic of texts and finds
// what is like a question, by words and by meaning. It speaks gRPC, gRPC-Web and
// connect on one port.
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/service"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/vectorstore"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stderr)) }

type options struct {
	listen, data         string
	library              bool
	embedURL, embedModel string
	embedDim             int
	service.TLS
}

func run(ctx context.Context, args []string, env func(string) string, stderr io.Writer) int {
	var f service.Flags
	var o options
	flags := flag.NewFlagSet("vector-store", flag.ContinueOnError)
	f.Add(flags, env)
	o.AddServer(flags)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:8080", "serve gRPC and connect on this `address:port`")
	flags.StringVar(&o.data, "data", "data/documents", "keep what has been read in this `folder`; if it is new, the topic is read from its beginning")
	flags.BoolVar(&o.library, "library", true, "begin with the texts of the sample")
	flags.StringVar(&o.embedURL, "embed-url", "", "the `URL` of a model server (POST /v1/embeddings) that embeds instead of word vectors; texts are sent to it")
	flags.StringVar(&o.embedModel, "embed-model", "", "the model `name` there; its key is read from MIB_EMBED_KEY")
	flags.IntVar(&o.embedDim, "embed-dimensions", 0, "the model's dimensions")
	if code, ok := service.Parse(flags, args, stderr); !ok {
		return code
	}
	if wrong := o.Problem(); wrong != "" {
		_, _ = io.WriteString(stderr, "vector-store: "+wrong+"; see vector-store --help\n")
		return 2
	}
	if err := serve(ctx, f, o, env, stderr); err != nil {
		_, _ = io.WriteString(stderr, "vector-store: "+err.Error()+"\n")
		return 1
	}
	return 0
}

func serve(ctx context.Context, f service.Flags, o options, env func(string) string, stderr io.Writer) error {
	s, err := service.New(ctx, "vector-store", f, env, stderr)
	if err != nil {
		return err
	}
	sample, err := market.Load(env("EVENKEEL_DATA"))
	if err != nil {
		return err
	}
	library := corpus.Documents(sample)
	var e embed.Embedder = embed.NewWords(sample.Vectors, corpus.Texts(library))
	if o.embedURL != "" {
		if e, err = embed.NewHTTP(o.embedURL, o.embedModel, o.embedDim, env("MIB_EMBED_KEY")); err != nil {
			return err
		}
	}
	synthetic := sample.Synthetic
	if !o.library {
		library, synthetic = nil, false
	}
	documents, err := store.OpenFor(o.data, e.ID(), e.Dim())
	if err != nil {
		return err
	}
	defer documents.Close()
	r := vectorstore.New(vectorstore.Options{Brokers: s.Brokers, Store: documents, Embedder: e, Library: library, Logger: s.Log, Client: s.Client()})
	l := s.Lifecycle
	l.OnStart(s.Topics)
	l.OnStart(r.Start)
	l.Job("texts", r.Run)
	l.OnSave(r.Save)
	l.OnFlush(func(context.Context) error { r.Close(); return nil })

	s.Registry.MustRegister(r.Collectors()...)
	mux := http.NewServeMux()
	mux.Handle(mibv1connect.NewVectorStoreServiceHandler(&vectorstore.Server{Replica: r, Synthetic: synthetic}, connect.WithInterceptors(
		service.NewRED(s.Registry).Interceptor(),
		problem.Interceptor(func(procedure string, err error) { s.Log.Error("call", "procedure", procedure, "err", err) }),
	), connect.WithReadMaxBytes(16<<20)))
	server := &http.Server{
		Addr: o.listen, Handler: s.TraceHTTP(mux), Protocols: new(http.Protocols),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	}
	server.Protocols.SetHTTP1(true)
	certificates, err := s.Certificates(ctx, o.TLS)
	if err != nil {
		return err
	}
	if certificates != nil {
		server.TLSConfig = certificates.Server(o.Peers())
		server.Protocols.SetHTTP2(true)
	} else {
		server.Protocols.SetUnencryptedHTTP2(true) // gRPC without TLS
	}
	l.HTTP(server)
	if code := s.Run(ctx); code != 0 {
		return errors.New("it did not end as it should; see the log")
	}
	return nil
}
