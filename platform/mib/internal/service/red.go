package service

import (
	"context"
	"net"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

func listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) }

// RED counts the calls of a server: how many, how many failed and how, how long they
// took. Streams count when they end.
type RED struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewRED returns counters and registers them.
func NewRED(r prometheus.Registerer) *RED {
	m := &RED{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mib_rpc_requests_total", Help: "Calls that have ended, by procedure and code.",
		}, []string{"procedure", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "mib_rpc_duration_seconds", Help: "How long calls with one answer took, by procedure.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"procedure"}),
	}
	r.MustRegister(m.calls, m.seconds)
	return m
}

func (m *RED) ended(procedure string, begun time.Time, unary bool, code string) {
	m.calls.WithLabelValues(procedure, code).Inc()
	if unary {
		m.seconds.WithLabelValues(procedure).Observe(time.Since(begun).Seconds())
	}
}

// ServerOptions count the calls of a grpc-go server. They come before others, so that
// what others refuse is counted, too.
func (m *RED) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			begun := time.Now()
			resp, err := next(ctx, req)
			m.ended(info.FullMethod, begun, true, status.Code(err).String())
			return resp, err
		}),
		grpc.ChainStreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			begun := time.Now()
			err := next(srv, s)
			m.ended(info.FullMethod, begun, false, status.Code(err).String())
			return err
		}),
	}
}

// Interceptor counts the calls of connect handlers. It comes before others.
func (m *RED) Interceptor() connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			begun := time.Now()
			resp, err := next(ctx, req)
			code := "OK"
			if err != nil {
				code = connect.CodeOf(err).String()
			}
			m.ended(req.Spec().Procedure, begun, true, code)
			return resp, err
		}
	})
}
