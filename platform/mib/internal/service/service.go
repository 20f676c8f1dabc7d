// Package service is what the services of the platform have in common: how they are
// called, where their brokers are, their log, their metrics, their traces, and their
// ending, which is package lifecycle's.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kotel"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecycleotel "github.com/evenkeel-dev/evenkeel/lifecycle/otel"
	lifecycleprom "github.com/evenkeel-dev/evenkeel/lifecycle/prometheus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Flags are those of every service.
type Flags struct {
	Health, Metrics string
	brokers         string
}

// Add adds the flags to a set. Addresses of brokers are those of KAFKA_BROKERS if the
// flag says nothing.
func (f *Flags) Add(set *flag.FlagSet, env func(string) string) {
	set.StringVar(&f.Health, "health-listen", "127.0.0.1:8081", "serve /livez, /readyz and /health/shutdown on this `address:port`")
	set.StringVar(&f.Metrics, "metrics-listen", "127.0.0.1:9090", "serve /metrics on this `address:port`; nowhere if empty")
	set.StringVar(&f.brokers, "brokers", env("KAFKA_BROKERS"), "the `addresses` of brokers, with commas between; KAFKA_BROKERS if set")
}

// Parse parses the arguments of a service that takes none but flags. If it reports
// false, the process ends with the code.
func Parse(set *flag.FlagSet, args []string, stderr io.Writer) (code int, ok bool) {
	set.SetOutput(stderr)
	switch err := set.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return 2, false
	case set.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q; see %s --help\n", set.Name(), set.Arg(0), set.Name())
		return 2, false
	}
	return 0, true
}

// A Service is a process of the platform.
type Service struct {
	Name      string
	Log       *slog.Logger
	Registry  *prometheus.Registry
	Lifecycle *lifecycle.Lifecycle
	Brokers   []string

	flags  Flags
	traces *trace.TracerProvider // nil if nobody wants them
}

// New makes a service that has not started. Traces are sent to where
// OTEL_EXPORTER_OTLP_ENDPOINT says, and made only if it says something.
func New(ctx context.Context, name string, f Flags, env func(string) string, stderr io.Writer) (*Service, error) {
	s := &Service{Name: name, Log: slog.New(slog.NewJSONHandler(stderr, nil)).With("service", name), Registry: prometheus.NewRegistry(), flags: f}
	if f.brokers != "" {
		s.Brokers = strings.Split(f.brokers, ",")
	}
	o := lifecycle.Options{Addr: f.Health, CutRecord: stderr, Logger: s.Log}
	if env("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		exporter, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, fmt.Errorf("sending traces: %w", err)
		}
		s.traces = NewTraces(name, trace.WithBatcher(exporter))
		otel.SetTracerProvider(s.traces)
		o.Trace = lifecycleotel.Trace(s.traces)
	}
	otel.SetTextMapPropagator(propagation.TraceContext{})
	s.Lifecycle = lifecycle.New(o)
	if s.traces != nil {
		s.Lifecycle.OnFlush(s.traces.Shutdown)
	}
	s.Registry.MustRegister(
		lifecycleprom.Collector(s.Lifecycle),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return s, nil
}

// NewTraces returns a provider of traces of a service.
func NewTraces(name string, o ...trace.TracerProviderOption) *trace.TracerProvider {
	return trace.NewTracerProvider(append(o, trace.WithResource(resource.NewSchemaless(attribute.String("service.name", name))))...)
}

// Client returns the options with which a client of the broker takes part in traces:
// their context travels in the headers of records.
func (s *Service) Client() []kgo.Opt {
	if s.traces == nil {
		return nil
	}
	return TracedClient(s.traces)
}

// TracedClient is Client for a given provider.
func TracedClient(p *trace.TracerProvider) []kgo.Opt {
	t := kotel.NewTracer(kotel.TracerProvider(p), kotel.TracerPropagator(propagation.TraceContext{}))
	return []kgo.Opt{kgo.WithHooks(kotel.NewKotel(kotel.WithTracer(t)).Hooks()...)}
}

// TraceGRPC returns the options with which a grpc-go server takes part in traces.
func (s *Service) TraceGRPC() []grpc.ServerOption {
	if s.traces == nil {
		return nil
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(s.traces)))}
}

// TraceHTTP makes a handler take part in traces.
func (s *Service) TraceHTTP(h http.Handler) http.Handler {
	if s.traces == nil {
		return h
	}
	return otelhttp.NewHandler(h, s.Name, otelhttp.WithTracerProvider(s.traces))
}

// reach is how long a service waits at its start for a broker to be there: in a
// cluster all of them start at once.
const reach = 2 * time.Minute

// Topics waits until a broker answers and creates the topics that are missing.
func (s *Service) Topics(ctx context.Context) error {
	if len(s.Brokers) == 0 {
		return errors.New("set KAFKA_BROKERS, or --brokers")
	}
	ctx, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		try, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := stream.CreateTopics(try, client, -1)
		cancel()
		if err == nil {
			return nil
		}
		if wait >= time.Second { // not the first time: it is not only slower than we are
			s.Log.Warn("waiting for a broker", "brokers", s.Brokers, "err", err)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("reaching a broker at %s: %w", strings.Join(s.Brokers, ","), err)
		}
	}
}

// Run runs the service until it has ended, and returns the exit code.
func (s *Service) Run(ctx context.Context) int {
	stop, err := s.serveMetrics()
	if err != nil {
		s.Log.Error(s.Name+" cannot start", "err", err)
		return 1
	}
	defer stop()
	if err := s.Lifecycle.Run(ctx); err != nil {
		s.Log.Error(s.Name+" ended", "err", err)
		return 1
	}
	return 0
}

// serveMetrics serves beside the lifecycle: metrics are there until the very end.
func (s *Service) serveMetrics() (stop func(), err error) {
	if s.flags.Metrics == "" {
		return func() {}, nil
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true, Timeout: 5 * time.Second}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ln, err := listen(s.flags.Metrics)
	if err != nil {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.Log.Error("metrics", "err", err)
		}
	}()
	return func() { _ = server.Close(); <-done }, nil
}
