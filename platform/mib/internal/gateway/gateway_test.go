package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/fault"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/keys"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/limit"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/gateway/upstream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
	"github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1/mibv1connect"
)

// engine is a service that answers like one with a little history.
type engine struct {
	mibv1connect.UnimplementedEngineServiceHandler
	asked  atomic.Int64
	fails  atomic.Int64 // so many requests, from now on
	breaks atomic.Bool  // the stream ends after each message
}

func at(year, month, day int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC))
}

func (e *engine) ask() error {
	e.asked.Add(1)
	if e.fails.Add(-1) >= 0 {
		return connect.NewError(connect.CodeUnavailable, errors.New("secret place"))
	}
	return nil
}

func (e *engine) ListSeries(context.Context, *connect.Request[mibv1.ListSeriesRequest]) (*connect.Response[mibv1.ListSeriesResponse], error) {
	if err := e.ask(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&mibv1.ListSeriesResponse{Series: []*mibv1.Series{{Symbol: "WTI", Count: 3, First: at(2008, 1, 2)}}}), nil
}

func (e *engine) FindSimilar(_ context.Context, r *connect.Request[mibv1.FindSimilarRequest]) (*connect.Response[mibv1.FindSimilarResponse], error) {
	if err := e.ask(); err != nil {
		return nil, err
	}
	if r.Msg.GetSymbol() != "WTI" {
		return nil, problem.New(connect.CodeNotFound, problem.UnknownSymbol, "symbol", "is not a symbol of GET /v1/series").Connect()
	}
	return connect.NewResponse(&mibv1.FindSimilarResponse{Symbol: "WTI"}), nil
}

func (e *engine) ListMoves(_ context.Context, r *connect.Request[mibv1.ListMovesRequest]) (*connect.Response[mibv1.ListMovesResponse], error) {
	if err := e.ask(); err != nil {
		return nil, err
	}
	a := &mibv1.ListMovesResponse{}
	for i, d := range r.Msg.GetDates() {
		a.Moves = append(a.Moves, &mibv1.Moves{Date: d, Moves: []*mibv1.Move{
			{Symbol: "WTI", From: &mibv1.Point{Date: d, Close: 100}, To: &mibv1.Point{Date: d, Close: 110}, Change: 0.1 * float64(i+1)},
		}})
	}
	return connect.NewResponse(a), nil
}

// StreamSignals counts from the token up to 20; the token is the count.
func (e *engine) StreamSignals(ctx context.Context, r *connect.Request[mibv1.StreamSignalsRequest], s *connect.ServerStream[mibv1.StreamSignalsResponse]) error {
	n := 0
	if _, err := fmt.Sscan(r.Msg.GetResumeToken(), &n); err != nil {
		if err := s.Send(&mibv1.StreamSignalsResponse{ResumeToken: "0", Event: &mibv1.StreamSignalsResponse_Latest{Latest: &mibv1.LivePrices{}}}); err != nil {
			return err
		}
	}
	for n < 20 {
		n++
		m := &mibv1.StreamSignalsResponse{ResumeToken: fmt.Sprint(n), Event: &mibv1.StreamSignalsResponse_Prices{Prices: &mibv1.LivePrices{Prices: []*mibv1.LivePrice{{Feed: "a", Symbol: "WTI", Price: float64(n)}}}}}
		if err := s.Send(m); err != nil {
			return err
		}
		if e.breaks.Load() {
			return connect.NewError(connect.CodeUnavailable, errors.New("draining"))
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// documents is a vector store that knows what it was told.
type documents struct {
	mibv1connect.UnimplementedVectorStoreServiceHandler
}

func (documents) Search(_ context.Context, r *connect.Request[mibv1.SearchRequest]) (*connect.Response[mibv1.SearchResponse], error) {
	q := r.Msg
	a := &mibv1.SearchResponse{}
	switch {
	case q.GetKind() == "passage" && q.GetWay() == mibv1.Way_WAY_HYBRID:
		a.Hits = []*mibv1.Hit{
			{Document: &mibv1.Document{Id: "p1", Kind: "passage", Date: at(2008, 2, 1), Title: "February 2008", Text: "wells", Source: "test"}, Similarity: 0.5},
			{Document: &mibv1.Document{Id: "p2", Kind: "passage", Date: at(2008, 3, 7), Exact: true, Title: "March 2008", Text: "rigs", Source: "test"}, Similarity: 0.25},
		}
	case q.GetKind() == "filing" && q.GetWay() == mibv1.Way_WAY_WORDS:
		a.Hits = []*mibv1.Hit{{Document: &mibv1.Document{Id: "f1", Kind: "filing", Date: at(2008, 2, 1), Exact: true, Title: "8-K WELLS INC", Source: "test"}}}
	default:
		return nil, problem.Invalid("kind", "was not expected").Connect()
	}
	return connect.NewResponse(a), nil
}

// setup is a gateway and what is behind it.
type setup struct {
	t        *testing.T
	engine   *engine
	producer *kgo.Client
	brokers  []string
	config   gateway.Config
	registry *prometheus.Registry
	logs     *lines
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func h2c(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	s := &setup{t: t, engine: &engine{}, registry: prometheus.NewRegistry(), logs: &lines{}}
	log := slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s.brokers = c.ListenAddrs()
	if s.producer, err = kgo.NewClient(kgo.SeedBrokers(s.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.producer.Close)
	if err := stream.CreateTopics(t.Context(), s.producer, 1); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(mibv1connect.NewEngineServiceHandler(s.engine))
	mux.Handle(mibv1connect.NewVectorStoreServiceHandler(documents{}))
	behind := h2c(t, mux)
	metrics := gateway.NewMetrics(s.registry)
	client := upstream.HTTPClient(nil, 2)
	t.Cleanup(client.CloseIdleConnections)
	s.config = gateway.Config{
		Engine:      upstream.New(upstream.Options{Name: "engine", Observer: metrics, Timeout: 20 * time.Second}, mibv1connect.NewEngineServiceClient(client, behind.URL, connect.WithGRPC()), nil, nil),
		VectorStore: upstream.New(upstream.Options{Name: "vector store", Observer: metrics, Timeout: 20 * time.Second}, mibv1connect.NewVectorStoreServiceClient(client, behind.URL, connect.WithGRPC()), nil, nil),
		Producer:    s.producer, Hub: api.NewHub(), Metrics: metrics, Log: log, Now: time.Now,
		Lifecycle: lifecycle.New(lifecycle.Options{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.config.Hub.Run(ctx, s.brokers, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *setup) serve() *httptest.Server { return h2c(s.t, gateway.New(s.config)) }

func TestAsk(t *testing.T) {
	s := newSetup(t)
	srv := s.serve()
	resp, err := http.Get(srv.URL + "/v1/ask?q=wells&days=30")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var a api.Answer
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	// Of the first passage only the month is known: it is counted from its last day.
	if len(a.Passages) != 2 || a.Passages[0].Counted != at(2008, 2, 29).AsTime() || a.Passages[1].Counted != at(2008, 3, 7).AsTime() || a.Passages[1].Moves[0].Change != 0.2 ||
		len(a.Summary) != 1 || a.Summary[0].N != 2 || a.Summary[0].High != 0.2 || len(a.Filings) != 1 || a.Note != history.Note || a.Days != 30 || a.Question != "wells" {
		t.Errorf("%+v", a)
	}

	// The same over the other protocols, at the same port.
	client := upstream.HTTPClient(nil, 1)
	defer client.CloseIdleConnections()
	for name, o := range map[string]connect.ClientOption{"gRPC": connect.WithGRPC(), "gRPC-Web": connect.WithGRPCWeb(), "connect": connect.WithClientOptions()} {
		got, err := mibv1connect.NewIntelServiceClient(client, srv.URL, o).Ask(t.Context(), connect.NewRequest(&mibv1.AskRequest{Q: "wells"}))
		if err != nil || len(got.Msg.GetPassages()) != 2 || got.Msg.GetDays() != 60 {
			t.Errorf("%s: %v %v", name, got, err)
		}
		_, err = mibv1connect.NewEngineServiceClient(client, srv.URL, o).FindSimilar(t.Context(), connect.NewRequest(&mibv1.FindSimilarRequest{Symbol: "NONE"}))
		var e *connect.Error
		if !errors.As(err, &e) || e.Code() != connect.CodeNotFound || len(e.Details()) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		if v, err := e.Details()[0].Value(); err != nil || v.(*mibv1.Problem).GetField() != "symbol" {
			t.Errorf("%s: %v %v", name, v, err)
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	s := newSetup(t)
	h := gateway.New(s.config)
	for _, c := range []struct {
		target string
		status int
		want   string
	}{
		{"/v1/similar?symbol=NONE", 404, `{"error":{"code":"unknown_symbol","field":"symbol","message":"is not a symbol of GET /v1/series"}}`},
		{"/v1/similar?symbol=WTI&k=0", 400, `"field":"k"`},
		{"/v1/ask?q=", 400, `"field":"q"`},
		{"/v1/ask?q=" + strings.Repeat("x", 1001), 400, `"field":"q"`},
		{"/v1/prices?symbols=" + strings.Repeat("x", 129), 400, `"field":"symbols[0]"`},
		{"/v1/live", 503, `"code":"upstream_unavailable"`}, // the engine of this test does not have it
		{"/v1/nothing", 404, ""},
	} {
		if w := mibtest.Do(h, "GET", c.target, ""); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%.60s: %d %s", c.target, w.Code, w.Body)
		}
	}
	s.engine.fails.Store(100)
	if w := mibtest.Do(h, "GET", "/v1/series", ""); w.Code != 503 || strings.Contains(w.Body.String(), "secret") || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if n := testutil.ToFloat64(s.config.Metrics.Requests("/v1/series", "503")); n != 1 {
		t.Errorf("counted %v", n)
	}
}

// A failure that a retry heals is not seen.
func TestRetry(t *testing.T) {
	s := newSetup(t)
	h := gateway.New(s.config)
	s.engine.fails.Store(2)
	if w := mibtest.Do(h, "GET", "/v1/series", ""); w.Code != 200 || s.engine.asked.Load() != 3 {
		t.Errorf("%d after %d requests: %s", w.Code, s.engine.asked.Load(), w.Body)
	}
}

func TestKeysAndRates(t *testing.T) {
	s := newSetup(t)
	key, line, err := keys.New("desk")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(line+" rate=0.001 burst=3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s.config.Keys, err = keys.Open(file); err != nil {
		t.Fatal(err)
	}
	s.config.Limits = limit.New(1, 1, 100)
	s.config.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
	srv := s.serve()
	get := func(path, key string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "GET", srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(b)
	}
	for _, path := range []string{"/v1/series", "/v1/alerts", "/v1/prices", "/v1/ask?q=x", mibv1connect.EngineServiceListSeriesProcedure} {
		if resp, body := get(path, ""); resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(body, "unauthenticated") {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if resp, body := get("/", ""); resp.StatusCode != 200 || body != "page" {
		t.Errorf("the page: %s %s", resp.Status, body)
	}
	for i := range 3 {
		if resp, body := get("/v1/series", key); resp.StatusCode != 200 || resp.Header.Get("RateLimit-Remaining") != fmt.Sprint(2-i) {
			t.Errorf("%s %v %s", resp.Status, resp.Header, body)
		}
	}
	resp, body := get("/v1/series", key)
	if resp.StatusCode != 429 || !strings.Contains(body, "rate_limited") || resp.Header.Get("RateLimit-Limit") != "3" || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s %v %s", resp.Status, resp.Header, body)
	}
	client := upstream.HTTPClient(nil, 1)
	defer client.CloseIdleConnections()
	q := connect.NewRequest(&mibv1.ListSeriesRequest{})
	q.Header().Set("Authorization", "Bearer "+key)
	_, err = mibv1connect.NewEngineServiceClient(client, srv.URL, connect.WithGRPC()).ListSeries(t.Context(), q)
	if connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("over gRPC: %v", err)
	}
	// A wrong key in a file that changed, requests with and without keys: whatever was
	// logged, no key is in it.
	if err := os.WriteFile(file, []byte("desk "+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.config.Keys.Load(); err == nil {
		t.Error("a key instead of its hash was read")
	} else {
		s.config.Log.Error("reading", "err", err)
	}
	get("/v1/series?key="+key, key+"x")
	if strings.Contains(s.logs.String(), key) {
		t.Error("a key is in the log")
	}
}

const tick = `{"id":"%s","feed":"desk","symbol":"WTI","time":"2026-01-02T15:04:05Z","price":%d,"source":"desk"}`

// topic returns the ids of all ticks in the topic.
func (s *setup) topic() []string {
	s.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(stream.Ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	// A last record tells where to stop.
	mark := stream.Tick{ID: stream.NewID(time.Now()), Feed: "desk", Symbol: "WTI", Time: time.Now(), Price: 1}
	r, err := mark.Record()
	if err == nil {
		err = s.producer.ProduceSync(s.t.Context(), r).FirstErr()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var ids []string
	ctx, cancel := context.WithTimeout(s.t.Context(), mibtest.Hung)
	defer cancel()
	for {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			s.t.Fatal(err)
		}
		for _, r := range f.Records() {
			t, err := stream.DecodeTick(r.Value)
			if err != nil {
				s.t.Fatal(err)
			}
			if t.ID == mark.ID {
				return ids
			}
			if t.Feed == "desk" && t.Price > 1 {
				ids = append(ids, t.ID)
			}
		}
	}
}

func TestTicks(t *testing.T) {
	s := newSetup(t)
	srv := s.serve()
	post := func(body string, header ...string) (*http.Response, mibv1.CreateTickResponse) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), "POST", srv.URL+"/v1/ticks", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var m struct{ ID string }
		_ = json.NewDecoder(resp.Body).Decode(&m)
		return resp, mibv1.CreateTickResponse{Id: m.ID}
	}
	// Many send the same at once, here and again later: it is there once.
	var wg sync.WaitGroup
	var fresh atomic.Int64
	for range 20 {
		wg.Go(func() {
			r, err := http.Post(srv.URL+"/v1/ticks", "application/json", strings.NewReader(fmt.Sprintf(tick, "same", 70)))
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if r.StatusCode != 201 {
				t.Error(r.Status)
			}
			if r.Header.Get("Idempotency-Replayed") == "" {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	mibtest.Until(t, "the tick comes back from the topic", func() bool { _, _, _, ok := s.config.Hub.Accepted("same"); return ok })
	if resp, m := post(fmt.Sprintf(tick, "same", 70)); resp.StatusCode != 201 || resp.Header.Get("Idempotency-Replayed") != "true" || m.GetId() != "same" {
		t.Errorf("again: %s %v", resp.Status, resp.Header)
	}
	if resp, _ := post(fmt.Sprintf(tick, "same", 71)); resp.StatusCode != 409 {
		t.Errorf("another tick with its id: %s", resp.Status)
	}
	if resp, m := post(fmt.Sprintf(tick, "", 72), "Idempotency-Key", "by-key"); resp.StatusCode != 201 || m.GetId() != "by-key" {
		t.Errorf("by its key: %s", resp.Status)
	}
	if resp, _ := post(fmt.Sprintf(tick, "", 72), "Idempotency-Key", "two words"); resp.StatusCode != 400 {
		t.Errorf("a key that can be no id: %s", resp.Status)
	}
	_, named := post(fmt.Sprintf(tick, "", 73))
	got := s.topic()
	slices.Sort(got)
	want := []string{named.GetId(), "by-key", "same"}
	slices.Sort(want)
	// Those who came when the first was recorded but had not come back yet may have
	// recorded it again; the readers know its id.
	if n := len(got); fresh.Load() < 1 || n < 3 || n != 2+int(fresh.Load()) || !slices.Equal(slices.Compact(got), want) {
		t.Errorf("in the topic: %q, want %q; %d were answered as new", got, want, fresh.Load())
	}
}

// refusing is a broker that acknowledges nothing.
type refusing struct{}

func (refusing) ProduceSync(_ context.Context, rs ...*kgo.Record) kgo.ProduceResults {
	return kgo.ProduceResults{{Record: rs[0], Err: errors.New("no leader at 10.1.2.3")}}
}

func TestWhatIsNotRecordedIsNotAnswered2xx(t *testing.T) {
	s := newSetup(t)
	s.config.Producer = refusing{}
	w := mibtest.Do(gateway.New(s.config), "POST", "/v1/ticks", fmt.Sprintf(tick, "x", 70))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "not_recorded") || strings.Contains(w.Body.String(), "10.1.2.3") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func (s *setup) alert(id string) {
	s.t.Helper()
	r, err := stream.Alert{ID: id, Kind: "anomaly", Time: time.Date(2008, 9, 22, 0, 0, 0, 0, time.UTC)}.Record()
	if err == nil {
		err = s.producer.ProduceSync(s.t.Context(), r).FirstErr()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Server-sent events, WebSockets and RPCs number alerts alike, and each resumes
// where any of them stopped.
func TestAlertsOverEverything(t *testing.T) {
	s := newSetup(t)
	srv := s.serve()
	for _, id := range []string{"a", "b", "b", "c"} {
		s.alert(id)
	}
	type seen struct {
		number int64
		id     string
	}
	sse := func(after int64, n int) (got []seen) {
		t.Helper()
		resp, err := http.Get(fmt.Sprintf("%s/v1/alerts?after=%d", srv.URL, after))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var number int64
		for l := bufio.NewScanner(resp.Body); len(got) < n && l.Scan(); {
			if v, ok := strings.CutPrefix(l.Text(), "id: "); ok {
				_, _ = fmt.Sscan(v, &number)
			}
			var a stream.Alert
			if v, ok := strings.CutPrefix(l.Text(), "data: "); ok && json.Unmarshal([]byte(v), &a) == nil && a.ID != "" {
				got = append(got, seen{number, a.ID})
			}
		}
		return got
	}
	socket := func(after int64, n int) (got []seen) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), mibtest.Hung)
		defer cancel()
		c, _, err := websocket.Dial(ctx, fmt.Sprintf("%s/v1/alerts?after=%d", srv.URL, after), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.CloseNow() }()
		for len(got) < n {
			_, b, err := c.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Event string
				ID    int64
				Data  stream.Alert
			}
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			if m.Event == "alert" {
				got = append(got, seen{m.ID, m.Data.ID})
			}
		}
		return got
	}
	client := upstream.HTTPClient(nil, 1)
	t.Cleanup(client.CloseIdleConnections)
	rpc := func(after int64, n int) (got []seen) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), mibtest.Hung)
		defer cancel()
		m, err := mibv1connect.NewIntelServiceClient(client, srv.URL, connect.WithGRPC()).StreamAlerts(ctx, connect.NewRequest(&mibv1.StreamAlertsRequest{After: &after}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { cancel(); _ = m.Close() }()
		for len(got) < n && m.Receive() {
			if a := m.Msg().GetAlert(); a != nil {
				got = append(got, seen{m.Msg().GetNumber(), a.GetId()})
			}
		}
		if len(got) < n {
			t.Fatal(m.Err())
		}
		return got
	}
	want := []seen{{0, "a"}, {1, "b"}, {3, "c"}}
	for name, f := range map[string]func(int64, int) []seen{"server-sent events": sse, "a WebSocket": socket, "gRPC": rpc} {
		if got := f(-1, 3); !slices.Equal(got, want) {
			t.Errorf("%s: %v", name, got)
		}
		if got := f(1, 1); !slices.Equal(got, want[2:]) {
			t.Errorf("%s, resumed after 1: %v", name, got)
		}
	}
	// A page of another origin may not look.
	if _, resp, err := websocket.Dial(t.Context(), srv.URL+"/v1/alerts", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}}}); err == nil || resp == nil || resp.StatusCode != 403 {
		t.Errorf("another origin: %v", err)
	}
	if resp, err := http.Get(srv.URL + "/v1/alerts?after=x"); err != nil || resp.StatusCode != 400 {
		t.Errorf("%v %v", resp, err)
	}
}

// The stream of the engine breaks after every message: clients see each price once.
func TestPricesGoOnWhereTheyBroke(t *testing.T) {
	s := newSetup(t)
	srv := s.serve()
	s.engine.breaks.Store(true)
	resp, err := http.Get(srv.URL + "/v1/prices")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var events, got []string
	for l := bufio.NewScanner(resp.Body); len(got) < 20 && l.Scan(); {
		if v, ok := strings.CutPrefix(l.Text(), "event: "); ok {
			events = append(events, v)
		}
		var list []struct{ Price float64 }
		if v, ok := strings.CutPrefix(l.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(v), &list); err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				got = append(got, fmt.Sprint(p.Price))
			}
		}
	}
	if want := "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"; strings.Join(got, " ") != want || events[0] != "latest" || slices.Contains(events[1:], "latest") {
		t.Errorf("%q %q", events, got)
	}
}

func TestCache(t *testing.T) {
	s := newSetup(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s.config.Now = func() time.Time { return now }
	s.config.Cache = time.Minute
	h := gateway.New(s.config)
	ask := func(target string, asked int64, status string) {
		t.Helper()
		w := mibtest.Do(h, "GET", target, "")
		if w.Code != 200 || s.engine.asked.Load() != asked || w.Header().Get("Cache-Status") != status || w.Header().Get("Content-Type") != "application/json" || !strings.Contains(w.Body.String(), "WTI") {
			t.Errorf("%s: %d %v %s, the engine was asked %d times", target, w.Code, w.Header(), w.Body, s.engine.asked.Load())
		}
	}
	ask("/v1/series", 1, "")
	ask("/v1/series", 1, "mib; hit")
	ask("/v1/similar?symbol=WTI", 2, "")
	ask("/v1/similar?symbol=WTI&k=3", 3, "")
	ask("/v1/similar?symbol=WTI", 3, "mib; hit")
	now = now.Add(time.Minute)
	ask("/v1/series", 4, "")
	// Errors are not kept.
	for range 2 {
		if w := mibtest.Do(h, "GET", "/v1/similar?symbol=NONE", ""); w.Code != 404 {
			t.Error(w.Code)
		}
	}
	if n := s.engine.asked.Load(); n != 6 {
		t.Errorf("the engine was asked %d times", n)
	}
}

func TestFaultsOnlyIfAllowed(t *testing.T) {
	s := newSetup(t)
	if w := mibtest.Do(gateway.New(s.config), "GET", "/v1/series", "", fault.Header, "status=503"); w.Code != 200 {
		t.Errorf("%d", w.Code)
	}
	s.config.Faults = true
	if w := mibtest.Do(gateway.New(s.config), "GET", "/v1/series", "", fault.Header, "status=503"); w.Code != 503 {
		t.Errorf("%d", w.Code)
	}
}

// What is described is there, and the description says how errors look.
func TestOpenAPI(t *testing.T) {
	s := newSetup(t)
	h := gateway.New(s.config)
	var d struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
		}
	}
	if err := json.Unmarshal(mibtest.Do(h, "GET", "/v1/openapi.json", "").Body.Bytes(), &d); err != nil || !bytes.Contains(proto.OpenAPI, []byte(`"Error"`)) {
		t.Fatal(err)
	}
	if len(d.Paths) < 8 {
		t.Errorf("%d paths", len(d.Paths))
	}
	for path, methods := range d.Paths {
		for method := range methods {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // streams end at once
			r := httptest.NewRequestWithContext(ctx, strings.ToUpper(method), path, nil)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code == 404 && !strings.Contains(w.Body.String(), `"error"`) || w.Code == 405 {
				t.Errorf("%s %s is described, but there is none", method, path)
			}
		}
	}
}
