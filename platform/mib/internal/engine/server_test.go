package engine_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclegrpc "github.com/evenkeel-dev/evenkeel/lifecycle/grpc"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/engine"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/replay"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

type world struct {
	brokers  []string
	producer *kgo.Client
	sample   *market.Sample
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{brokers: c.ListenAddrs(), sample: market.Generate(market.Seed)}
	if w.producer, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.producer.Close)
	if err := stream.CreateTopics(t.Context(), w.producer, 1); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) send(t *testing.T, ticks []stream.Tick) {
	t.Helper()
	var records []*kgo.Record
	for _, tick := range ticks {
		r, err := tick.Record()
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	if err := w.producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// start runs an engine until end is called, which returns what Run did.
func (w *world) start(t *testing.T, dir string) (addr string, end func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := lifecycle.New(lifecycle.Options{Grace: 20 * time.Second, PropagationFloor: -1, TerminationLog: "none"})
	e := engine.New(engine.Options{Brokers: w.brokers, Dir: dir})
	l.OnStart(e.Start)
	started := make(chan struct{})
	l.OnStart(func(context.Context) error { close(started); return nil })
	l.Job("ticks", e.Run)
	l.OnSave(e.Save)
	l.OnFlush(func(context.Context) error { e.Close(); return nil })
	g := grpc.NewServer(append(lifecyclegrpc.ServerOptions(l), problem.ServerOptions(func(p string, err error) { t.Error(p, err) })...)...)
	mibv1.RegisterEngineServiceServer(g, &engine.Server{Service: e, Sample: w.sample})
	lifecyclegrpc.Serve(l, g, ln)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	select {
	case <-started:
	case err := <-done:
		t.Fatal("it did not start: ", err)
	case <-time.After(mibtest.Hung):
		t.Fatal("hung: start")
	}
	return ln.Addr().String(), func() error {
		stop()
		select {
		case err := <-done:
			return err
		case <-time.After(mibtest.Hung):
			t.Fatal("hung: the end")
			return nil
		}
	}
}

func dial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Engines are taken away while a client follows: each stream ends without an error,
// and the client goes on at the next one, which begins from a snapshot or from the
// stream, and has every price once.
func TestClientFollowsOverInterruptions(t *testing.T) {
	w := newWorld(t)
	ticks := replay.Ticks(w.sample, "feed", time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2019, 10, 1, 0, 0, 0, 0, time.UTC))
	parts := slices.Collect(slices.Chunk(ticks, (len(ticks)+4)/5))
	dir := t.TempDir()
	seen := make(map[string]int)
	var token string
	for i, part := range parts {
		with := dir
		if i == 3 {
			with = "" // a pod that has nothing
		}
		addr, end := w.start(t, with)
		conn := dial(t, addr)
		s, err := mibv1.NewEngineServiceClient(conn).StreamSignals(t.Context(), &mibv1.StreamSignalsRequest{Feed: "feed", ResumeToken: token})
		if err != nil {
			t.Fatal(err)
		}
		if token == "" { // the stream begins when it has said so
			m, err := s.Recv()
			if err != nil || m.GetLatest() == nil {
				t.Fatal(m, err)
			}
			token = m.GetResumeToken()
		}
		w.send(t, part)
		want := len(slices.Concat(parts[:i+1]...))
		for len(seen) < want {
			m, err := s.Recv()
			if err != nil {
				t.Fatalf("part %d, %d of %d: %v", i, len(seen), want, err)
			}
			for _, p := range m.GetPrices().GetPrices() {
				seen[p.GetSymbol()+p.GetTime().AsTime().String()]++
			}
			if m.GetGap() {
				t.Error("a gap")
			}
			token = m.GetResumeToken()
		}
		health, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("health: %v %v", health, err)
		}
		begun := time.Now()
		if err := end(); err != nil {
			t.Errorf("part %d: %v", i, err)
		}
		if took := time.Since(begun); took > 19*time.Second {
			t.Errorf("it ended after %v: a stream held it up", took)
		}
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("part %d: the stream ended with %v", i, err)
			}
			token = m.GetResumeToken()
		}
		if tr := s.Trailer(); len(tr.Get(lifecyclegrpc.DrainingTrailer)) != 1 || len(tr.Get(lifecyclegrpc.ResumeTrailer)) != 1 || tr.Get(lifecyclegrpc.ResumeTrailer)[0] != token {
			t.Errorf("part %d: trailer %v, last token %s", i, tr, token)
		}
	}
	for k := range maps.Keys(seen) {
		if seen[k] != 1 {
			t.Errorf("%s came %d times", k, seen[k])
		}
	}
	t.Logf("%d prices, each once, over %d engines", len(seen), len(parts))
}

func TestAnswers(t *testing.T) {
	w := newWorld(t)
	w.send(t, replay.Ticks(w.sample, "feed", time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2019, 6, 1, 0, 0, 0, 0, time.UTC)))
	addr, end := w.start(t, "")
	defer func() {
		if err := end(); err != nil {
			t.Error(err)
		}
	}()
	c := mibv1.NewEngineServiceClient(dial(t, addr))
	series, err := c.ListSeries(t.Context(), &mibv1.ListSeriesRequest{})
	if err != nil || !series.GetSynthetic() || len(series.GetSeries()) != len(w.sample.Series) {
		t.Errorf("%v %v", series, err)
	}
	live, err := c.ListLive(t.Context(), &mibv1.ListLiveRequest{Feed: "feed"})
	if err != nil || len(live.GetPrices()) == 0 || live.GetPrices()[0].GetSource() == "" {
		t.Errorf("%v %v", live, err)
	}
	past, err := c.ListReadings(t.Context(), &mibv1.ListReadingsRequest{Feed: "feed", Symbol: "WTI"})
	if err != nil || len(past.GetReadings()) < 50 {
		t.Errorf("%d %v", len(past.GetReadings()), err)
	}
	if past, err = c.ListReadings(t.Context(), &mibv1.ListReadingsRequest{Symbol: "WTI", To: "2010-01-01"}); err != nil || len(past.GetReadings()) != 300 {
		t.Errorf("%d %v", len(past.GetReadings()), err)
	}
	like, err := c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{Symbol: "WTI", At: "2015-03-09"})
	if err != nil || len(like.GetEpisodes()) != 10 || like.GetNote() == "" || like.GetN() == 0 {
		t.Errorf("%v %v", like, err)
	}
	for _, e := range like.GetEpisodes() {
		if !e.GetDate().AsTime().Before(like.GetAt().AsTime()) {
			t.Errorf("%v is not before the date", e)
		}
	}
	moves, err := c.ListMoves(t.Context(), &mibv1.ListMovesRequest{Dates: []*timestamppb.Timestamp{timestamppb.New(time.Date(2012, 8, 31, 0, 0, 0, 0, time.UTC))}})
	if err != nil || len(moves.GetMoves()) != 1 || len(moves.GetMoves()[0].GetMoves()) != 3 {
		t.Errorf("%v %v", moves, err)
	}

	zero := int32(0)
	for _, c := range []struct {
		name string
		err  error
		code codes.Code
		says string
	}{
		{"no symbol", second(c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{})), codes.InvalidArgument, "symbol"},
		{"an unknown symbol", second(c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{Symbol: "TULIPS"})), codes.NotFound, "symbol"},
		{"no day", second(c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{Symbol: "WTI", At: "2019-02-30"})), codes.InvalidArgument, "at"},
		{"before everything", second(c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{Symbol: "WTI", At: "1900-01-01"})), codes.InvalidArgument, "at"},
		{"none", second(c.FindSimilar(t.Context(), &mibv1.FindSimilarRequest{Symbol: "WTI", K: &zero})), codes.InvalidArgument, "k"},
		{"an unknown price", second(c.ListReadings(t.Context(), &mibv1.ListReadingsRequest{Feed: "other", Symbol: "WTI"})), codes.NotFound, "symbol"},
		{"no token", streamed(t, c, &mibv1.StreamSignalsRequest{ResumeToken: "x"}), codes.InvalidArgument, "resume_token"},
	} {
		s, _ := status.FromError(c.err)
		if s.Code() != c.code || len(s.Details()) == 0 {
			t.Errorf("%s: %v", c.name, c.err)
			continue
		}
		if p, ok := s.Details()[0].(*mibv1.Problem); !ok || p.GetField() != c.says {
			t.Errorf("%s: %v", c.name, s.Details())
		}
	}
}

func second[T any](_ T, err error) error { return err }

func streamed(t *testing.T, c mibv1.EngineServiceClient, req *mibv1.StreamSignalsRequest) error {
	s, err := c.StreamSignals(t.Context(), req)
	if err == nil {
		_, err = s.Recv()
	}
	return err
}
