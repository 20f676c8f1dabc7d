package lifecycleotel_test

import (
	"context"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecycleotel "github.com/evenkeel-dev/evenkeel/lifecycle/otel"
)

// All spans have reached the exporter when Run returns, the root's among them.
func TestTraceIsFlushed(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter))
	l := lifecycle.New(lifecycle.Options{TerminationLog: "none", Trace: lifecycleotel.Trace(provider)})
	l.OnFlush(provider.ForceFlush)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	byName := map[string]tracetest.SpanStub{}
	for _, s := range spans {
		byName[s.Name] = s
	}
	root, ok := byName["termination"]
	if !ok || len(spans) != 7 {
		t.Fatalf("%d spans", len(spans))
	}
	for p := lifecycle.Noticed; p <= lifecycle.Save; p++ {
		s, ok := byName[p.String()]
		if !ok || s.Parent.SpanID() != root.SpanContext.SpanID() || len(s.Attributes) != 1 || s.Attributes[0].Value.AsString() == "" {
			t.Errorf("%s: %+v", p, s)
		}
	}
}
