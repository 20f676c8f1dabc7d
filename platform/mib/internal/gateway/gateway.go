// Package gateway is the entrance of the Market Intel Brain: gRPC, gRPC-Web and
// connect, JSON, server-sent events and WebSockets at one port. It knows clients by
// their keys, holds them to their rates, and asks the services behind it.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/fault"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/keys"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/limit"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/rest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/upstream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// Engine and VectorStore are the services behind the gateway.
type (
	Engine      = upstream.Upstream[mibv1connect.EngineServiceClient]
	VectorStore = upstream.Upstream[mibv1connect.VectorStoreServiceClient]
)

// Limits of requests. Those of single fields are in the protocol.
const (
	queryTime  = 5 * time.Second
	maxMessage = 1 << 20
)

// Config is what a gateway is made of. Fields that may be nil say so.
type Config struct {
	Lifecycle   *lifecycle.Lifecycle // ends streams
	Engine      *Engine
	VectorStore *VectorStore
	Hub         *api.Hub
	Producer    Producer

	Keys   *keys.File    // nil: anybody may ask
	Limits *limit.Limits // nil: as often as they like
	Cache  time.Duration // how long answers about the past are kept; 0: not at all
	Faults bool          // do what the header of package fault says; never in production

	Page    http.Handler // for everything that is not the API; nil: nothing
	Metrics *Metrics     // nil: none are kept
	Log     *slog.Logger
	Now     func() time.Time
}

// A Producer sends records, as a *kgo.Client does.
type Producer interface {
	ProduceSync(context.Context, ...*kgo.Record) kgo.ProduceResults
}

type gateway struct {
	Config
	cache *cache
	ticks ticks
}

// New returns the handler of a gateway.
func New(c Config) http.Handler {
	g := &gateway{Config: c, cache: newCache(c.Cache, c.Now)}
	if g.Metrics == nil {
		g.Metrics = NewMetrics(prometheus.NewRegistry())
	}
	mux := http.NewServeMux()

	// RPCs, for those who speak one of their protocols.
	failed := func(procedure string, err error) {
		g.Log.Error("a request failed", "procedure", procedure, "err", err)
	}
	options := []connect.HandlerOption{
		connect.WithInterceptors(problem.Interceptor(failed)),
		connect.WithReadMaxBytes(maxMessage),
		connect.WithRecover(func(_ context.Context, s connect.Spec, _ http.Header, p any) error {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			g.Log.Error("a handler panicked", "procedure", s.Procedure, "panic", p)
			return problem.New(connect.CodeInternal, problem.Failed, "", "it failed here; it is no fault of the request").Connect()
		}),
	}
	for _, h := range []struct {
		path    string
		handler http.Handler
	}{
		pair(mibv1connect.NewIntelServiceHandler(intel{g}, options...)),
		pair(mibv1connect.NewEngineServiceHandler(engine{g}, options...)),
	} {
		mux.Handle(h.path, g.guard(h.path, bounded(h.handler)))
	}

	// The same as JSON. Streams have handlers of their own.
	in, en := intel{g}, engine{g}
	past := true // an answer that does not change from one second to the next
	for _, r := range []struct {
		file    string
		service string
		method  string
		call    rest.Call
		status  int
		past    bool
	}{
		{"intel", "IntelService", "Ask", rest.Unary(in.Ask), 0, past},
		{"intel", "IntelService", "CreateTick", rest.Unary(in.CreateTick), http.StatusCreated, false},
		{"engine", "EngineService", "ListSeries", rest.Unary(en.ListSeries), 0, past},
		{"engine", "EngineService", "FindSimilar", rest.Unary(en.FindSimilar), 0, past},
		{"engine", "EngineService", "ListLive", rest.Unary(en.ListLive), 0, false},
		{"engine", "EngineService", "ListReadings", rest.Unary(en.ListReadings), 0, false},
	} {
		file := mibv1.File_mib_v1_engine_proto
		if r.file == "intel" {
			file = mibv1.File_mib_v1_intel_proto
		}
		m := file.Services().ByName(protoName(r.service)).Methods().ByName(protoName(r.method))
		route, ok := rest.Rule(m)
		if !ok {
			panic("no google.api.http rule: " + string(m.FullName()))
		}
		route.Call, route.Status, route.Time, route.Log = r.call, r.status, queryTime, g.Log
		var h http.Handler = route
		if r.past {
			h = g.cache.handler(h)
		}
		mux.Handle(route.Method+" "+route.Path, g.guard(route.Path, h))
	}
	events := (&api.Server{Lifecycle: g.Lifecycle, Hub: g.Hub}).Handler()
	mux.Handle("GET /v1/alerts", g.guard("/v1/alerts", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			g.socket(w, r)
			return
		}
		events.ServeHTTP(w, r)
	})))
	mux.Handle("GET /v1/prices", g.guard("/v1/prices", http.HandlerFunc(g.prices)))
	mux.HandleFunc("GET /v1/openapi.json", openAPI)
	if g.Page != nil {
		mux.Handle("/", g.Page)
	}
	if g.Faults {
		g.Log.Warn("requests can ask to fail: this is not for production", "header", fault.Header)
		return fault.Handler(mux)
	}
	return mux
}

func pair(path string, h http.Handler) struct {
	path    string
	handler http.Handler
} {
	return struct {
		path    string
		handler http.Handler
	}{path, h}
}

// bounded gives unary requests their time; streams have as long as they want. Which
// is which shows in the name, as everywhere in the protocol.
func bounded(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i := strings.LastIndexByte(r.URL.Path, '/'); !strings.HasPrefix(r.URL.Path[i+1:], "Stream") {
			ctx, cancel := context.WithTimeout(r.Context(), queryTime)
			defer cancel()
			r = r.WithContext(ctx)
		}
		h.ServeHTTP(w, r)
	})
}

// guard lets requests of a route through that have a key and keep to their rate, and
// counts all of them.
func (g *gateway) guard(route string, next http.Handler) http.Handler {
	m := g.Metrics.route(route)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorder{ResponseWriter: w}
		begun := time.Now()
		m.begin()
		defer func() { m.end(rec.status, time.Since(begun)) }()
		client, err := g.client(r)
		if err != nil {
			rec.Header().Set("WWW-Authenticate", "Bearer")
			refuse(rec, r, err, g.Log)
			return
		}
		if g.Limits != nil {
			d := g.Limits.Take(client.Name, client.Rate, client.Burst, g.Now())
			d.Header(rec.Header())
			if !d.Allowed {
				refuse(rec, r, problem.New(connect.CodeResourceExhausted, "rate_limited", "", "too many requests; see Retry-After"), g.Log)
				return
			}
		}
		next.ServeHTTP(rec, r)
	})
}

// client returns who asks: by its key, or, where there are none, by its address.
func (g *gateway) client(r *http.Request) (keys.Client, error) {
	if g.Keys == nil {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		return keys.Client{Name: host}, nil
	}
	c, ok := g.Keys.Client(r)
	if !ok {
		return c, problem.New(connect.CodeUnauthenticated, "unauthenticated", "", "a key is needed: Authorization: Bearer KEY")
	}
	return c, nil
}

var errorWriter = connect.NewErrorWriter()

// refuse answers in the protocol of the request.
func refuse(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	var e *problem.Error
	if errors.As(err, &e) && errorWriter.IsSupported(r) {
		_ = errorWriter.Write(w, r, e.Connect())
		return
	}
	rest.Fail(w, r.URL.Path, err, log)
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap makes http.ResponseController find what is below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements http.Flusher, which connect asks for.
func (r *recorder) Flush() { _ = r.FlushError() }

// FlushError flushes, and says if that did not work.
func (r *recorder) FlushError() error {
	return http.NewResponseController(r.ResponseWriter).Flush()
}
