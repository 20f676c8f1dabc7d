package service

import (
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// TraceClient makes requests to other services take part in traces.
func (s *Service) TraceClient(c *http.Client) *http.Client {
	if s.traces != nil {
		c.Transport = otelhttp.NewTransport(c.Transport, otelhttp.WithTracerProvider(s.traces))
	}
	return c
}
