package service

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// A trace goes on over the broker: what a consumer does with a record belongs to the
// trace of whoever sent it, also when it sends something itself.
func TestTracesGoThroughTheBroker(t *testing.T) {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, stream.Ticks, stream.Alerts))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	spans := tracetest.NewInMemoryExporter()
	traces := NewTraces("a test", trace.WithSyncer(spans))
	defer func() { _ = traces.Shutdown(context.Background()) }()
	client := func(o ...kgo.Opt) *kgo.Client {
		t.Helper()
		k, err := kgo.NewClient(append(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, TracedClient(traces)...), o...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	}
	gateway, member := client(), client(kgo.ConsumeTopics(stream.Ticks))

	ctx, root := traces.Tracer("test").Start(t.Context(), "POST /v1/ticks")
	if err := gateway.ProduceSync(ctx, &kgo.Record{Topic: stream.Ticks, Value: []byte("a tick")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	root.End()
	record := member.PollFetches(t.Context()).Records()[0]
	if err := member.ProduceSync(record.Context, &kgo.Record{Topic: stream.Alerts, Value: []byte("an alert")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, s := range spans.GetSpans() {
		if s.SpanContext.TraceID() != root.SpanContext().TraceID() {
			t.Errorf("%s is in a trace of its own", s.Name)
		}
		if strings.Contains(s.Name, "publish") {
			sent++
		}
	}
	if sent != 2 {
		t.Errorf("%d spans of sending: %v", sent, spans.GetSpans().Snapshots())
	}
}

// A service says when it is ready, shows metrics until it has ended, and ends.
func TestRun(t *testing.T) {
	t.Setenv("EVENKEEL_GRACE_SECONDS", "3")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	var f Flags
	set := flag.NewFlagSet("test", flag.ContinueOnError)
	f.Add(set, func(string) string { return "a:1,b:2" })
	if code, ok := Parse(set, []string{"--health-listen=127.0.0.1:0", "--metrics-listen=" + addr}, io.Discard); !ok {
		t.Fatal(code)
	}
	var log bytes.Buffer
	s, err := New(t.Context(), "test", f, func(string) string { return "" }, &log)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Brokers) != 2 || s.Client() != nil {
		t.Errorf("brokers %v, client %v", s.Brokers, s.Client())
	}
	ctx, stop := context.WithCancel(t.Context())
	s.Lifecycle.OnStart(func(context.Context) error {
		r, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if b, _ := io.ReadAll(r.Body); !strings.Contains(string(b), "evenkeel_lifecycle") {
			t.Errorf("metrics: %s", b)
		}
		stop()
		return nil
	})
	begun := time.Now()
	if code := s.Run(ctx); code != 0 {
		t.Errorf("exit code %d after %v:\n%s", code, time.Since(begun), &log)
	}
}

func TestParse(t *testing.T) {
	for args, want := range map[string]int{"--help": 0, "--nonsense": 2, "something": 2} {
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		new(Flags).Add(set, func(string) string { return "" })
		if code, ok := Parse(set, []string{args}, io.Discard); ok || code != want {
			t.Errorf("%s: %d %v", args, code, ok)
		}
	}
}

func TestTLSFlags(t *testing.T) {
	for args, ok := range map[string]bool{
		"": true, "--tls-cert=c --tls-key=k --tls-ca=a": true, "--spiffe=unix:///s --tls-peers=p": true,
		"--tls-cert=c": false, "--tls-peers=p": false, "--spiffe=unix:///s --tls-key=k": false,
	} {
		set := flag.NewFlagSet("test", flag.ContinueOnError)
		var c TLS
		c.AddServer(set)
		if code, parsed := Parse(set, strings.Fields(args), io.Discard); !parsed {
			t.Fatal(args, code)
		}
		if p := c.Problem(); (p == "") != ok {
			t.Errorf("%q: %q", args, p)
		}
	}
}

func TestNoBrokers(t *testing.T) {
	s := new(Service)
	if err := s.Topics(t.Context()); err == nil || !strings.Contains(err.Error(), "KAFKA_BROKERS") {
		t.Errorf("%v", err)
	}
}
