// Package lifecycleotel turns the ending of a process into a trace: a span for
// each phase, under one root span.
//
//	l := lifecycle.New(lifecycle.Options{Trace: lifecycleotel.Trace(provider)})
//	l.OnFlush(provider.ForceFlush)
package lifecycleotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

// name is the instrumentation scope.
const name = "github.com/evenkeel-dev/evenkeel/lifecycle"

// Trace returns a value for Options.Trace. The reason for which a phase ended is
// the attribute evenkeel.why of its span.
func Trace(p trace.TracerProvider) func(context.Context, string) (context.Context, func(lifecycle.Reason)) {
	tracer := p.Tracer(name)
	return func(ctx context.Context, span string) (context.Context, func(lifecycle.Reason)) {
		ctx, s := tracer.Start(ctx, span)
		return ctx, func(why lifecycle.Reason) {
			s.SetAttributes(attribute.String("evenkeel.why", string(why)))
			s.End()
		}
	}
}
