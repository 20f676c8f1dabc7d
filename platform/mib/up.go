package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/page"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/vectorstore"
)

// upOptions are the flags of up.
type upOptions struct {
	data, listen, broker, health string
	embedURL, embedModel         string
	embedDim                     int
}

func newUp() *cobra.Command {
	var o upOptions
	c := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process",
		Long: `Run everything in one process: the broker, analytics, the documents and the API.

Prices and texts are read from the folder that EVENKEEL_DATA names. Without it they
are generated from a seed, and everything that is said of them says so.

The broker in this process speaks the Kafka protocol and is for development: one
node, no replication. Set KAFKA_BROKERS to use a real one.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return up(context.WithoutCancel(c.Context()), o, os.Getenv, c.OutOrStdout())
		},
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "data", "the `folder` of the broker's and the store's files")
	f.StringVar(&o.listen, "listen", defaultListen, "the `address` of the API")
	f.StringVar(&o.broker, "broker-listen", defaultBroker, "the `address` of the broker in this process")
	f.StringVar(&o.health, "health-listen", "", "the `address` of /livez and /readyz; none if empty")
	f.StringVar(&o.embedURL, "embed-url", "", "the `URL` of a model server (POST /v1/embeddings) that embeds instead of word vectors; texts are sent to it")
	f.StringVar(&o.embedModel, "embed-model", "", "the model `name` there; its key is read from MIB_EMBED_KEY")
	f.IntVar(&o.embedDim, "embed-dimensions", 0, "the model's dimensions")
	return c
}

// up runs until a signal comes.
func up(ctx context.Context, o upOptions, env func(string) string, out io.Writer) error {
	begun := time.Now()
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn}))
	sample, err := market.Load(env("EVENKEEL_DATA"))
	if err != nil {
		return err
	}
	if sample.Synthetic {
		fmt.Fprintln(out, "EVENKEEL_DATA is not set: all prices and texts are generated, none was observed")
	}

	brokers, closeBroker, err := connect(o, env, out)
	if err != nil {
		return err
	}
	defer closeBroker()
	producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer producer.Close()
	replicas := int16(-1) // the broker's default
	if env("KAFKA_BROKERS") == "" {
		replicas = 1
	}
	if err := stream.CreateTopics(ctx, producer, replicas); err != nil {
		return err
	}

	docs := corpus.Documents(sample)
	embedder, err := newEmbedder(o, env, sample, docs)
	if err != nil {
		return err
	}
	documents, err := store.OpenFor(o.data, embedder.ID(), embedder.Dim())
	if err != nil {
		return err
	}
	defer documents.Close()

	options := lifecycle.Options{Addr: o.health, CutRecord: out, Logger: log}
	if o.health == "" { // nobody probes it, so nobody has to notice that it ends
		options.PropagationFloor, options.PropagationCap = -1, time.Millisecond
	}
	l := lifecycle.New(options)
	ln, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	hub := api.NewHub()
	server := &api.Server{Lifecycle: l, Sample: sample, Store: documents, Embedder: embedder, Hub: hub, Producer: producer, Now: time.Now}
	replica := vectorstore.New(vectorstore.Options{Brokers: brokers, Store: documents, Embedder: embedder, Library: docs, Logger: log})
	l.OnStart(replica.Start)
	l.OnStart(func(context.Context) error {
		fmt.Fprintf(out, "ready in %d ms: %d documents, %d series; page and API at http://%s\n", time.Since(begun).Milliseconds(), documents.Len(), len(sample.Series), ln.Addr())
		return nil
	})
	if err := analytics.Register(l, analytics.Options{Brokers: brokers, Logger: log}); err != nil {
		return err
	}
	// A job, not a consumer: streams go on until it is their turn to end.
	l.Job("hub", func(ctx context.Context) error { return hub.Run(ctx, brokers, log) })
	l.Job("texts", replica.Run)
	l.OnSave(replica.Save)
	l.OnFlush(func(context.Context) error { replica.Close(); return nil })
	mux := http.NewServeMux()
	mux.Handle("/v1/", server.Handler())
	mux.Handle("/", page.Handler())
	return l.HTTPListener(&http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, ln).Run(ctx)
}

// connect starts the broker in this process, unless there is another.
func connect(o upOptions, env func(string) string, out io.Writer) (brokers []string, stop func(), err error) {
	if v := env("KAFKA_BROKERS"); v != "" {
		return strings.Split(v, ","), func() {}, nil
	}
	c, err := stream.Broker(o.broker, filepath.Join(o.data, "broker"))
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(out, "broker for development at %s; set KAFKA_BROKERS for a real one\n", strings.Join(c.ListenAddrs(), ","))
	return c.ListenAddrs(), c.Close, nil
}

func newEmbedder(o upOptions, env func(string) string, s *market.Sample, docs []corpus.Document) (embed.Embedder, error) {
	if o.embedURL != "" {
		return embed.NewHTTP(o.embedURL, o.embedModel, o.embedDim, env("MIB_EMBED_KEY"))
	}
	return embed.NewWords(s.Vectors, corpus.Texts(docs)), nil
}
