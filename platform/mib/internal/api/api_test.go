package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/api"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/client"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/history"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

func broker(t *testing.T) ([]string, *kgo.Client) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	if err := stream.CreateTopics(t.Context(), producer, 1); err != nil {
		t.Fatal(err)
	}
	return c.ListenAddrs(), producer
}

// generated is a server of generated data.
func generated(t *testing.T, brokers []string, producer *kgo.Client) http.Handler {
	t.Helper()
	sample := market.Generate(1)
	sample.Reports = sample.Reports[:60]
	docs := corpus.Documents(sample)
	var texts []string
	for _, d := range docs {
		texts = append(texts, d.Text)
	}
	e := embed.NewWords(sample.Vectors, texts)
	vectors, err := e.Embed(t.Context(), texts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir(), e.Dim())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var items []store.Item
	for i, d := range docs {
		items = append(items, store.Item{Document: d, Vector: vectors[i]})
	}
	if err := s.Upsert(items...); err != nil {
		t.Fatal(err)
	}
	hub := api.NewHub()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- hub.Run(ctx, brokers, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return (&api.Server{
		Lifecycle: lifecycle.New(lifecycle.Options{}), Sample: sample, Store: s, Embedder: e, Hub: hub, Producer: producer, Now: time.Now,
	}).Handler()
}

func TestAsk(t *testing.T) {
	h := generatedAlone(t)
	w := mibtest.Do(h, "GET", "/v1/ask?q="+url.QueryEscape("the drilling of crude")+"&k=4", "")
	var a api.Answer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 200 {
		t.Fatal(w.Code, w.Body, err)
	}
	if len(a.Passages) != 4 || !a.Synthetic || a.Note != history.Note || len(a.Filings) != 1 || !strings.Contains(a.Filings[0].Title, "Drilling") {
		t.Errorf("%+v", a)
	}
	for _, p := range a.Passages {
		if p.Source == "" || p.Date.IsZero() || p.Counted.Before(p.Date.AddDate(0, 0, 27)) || len(p.Moves) == 0 {
			t.Errorf("%+v", p)
		}
		for _, m := range p.Moves {
			if m.Source == "" || m.From.Date.After(p.Counted) || m.To.Date.Before(p.Counted) {
				t.Errorf("counted from %s: %+v", p.Counted, m)
			}
		}
	}
	if strings.Contains(strings.ReplaceAll(w.Body.String(), history.Note, ""), "predict") {
		t.Error("something is called a prediction")
	}
}

func TestSimilarAndSeries(t *testing.T) {
	h := generatedAlone(t)
	w := mibtest.Do(h, "GET", "/v1/similar?symbol=WTI&at=2008-10-15&k=5", "")
	var a api.Likeness
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || len(a.Episodes) != 5 || a.Source == "" || len(a.Correlations) != 2 {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if w := mibtest.Do(h, "GET", "/v1/series", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"symbol":"HENRYHUB"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func generatedAlone(t *testing.T) http.Handler {
	brokers, producer := broker(t)
	return generated(t, brokers, producer)
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	h := generatedAlone(t)
	tick := `{"id":"a","feed":"live","symbol":"WTI","time":"2020-04-20T00:00:00Z","price":1}`
	for _, c := range []struct{ method, target, body, field string }{
		{"GET", "/v1/ask", "", "q"},
		{"GET", "/v1/ask?q=" + strings.Repeat("a", 1001), "", "q"},
		{"GET", "/v1/ask?q=a&k=0", "", "k"},
		{"GET", "/v1/ask?q=a&k=101", "", "k"},
		{"GET", "/v1/ask?q=a&days=x", "", "days"},
		{"GET", "/v1/similar?symbol=NONE", "", "symbol"},
		{"GET", "/v1/similar?symbol=WTI&at=yesterday", "", "at"},
		{"GET", "/v1/similar?symbol=WTI&at=1986-01-10", "", "at"},
		{"GET", "/v1/alerts?after=x", "", "after"},
		{"POST", "/v1/ticks", strings.Replace(tick, "WTI", "W TI", 1), "symbol"},
		{"POST", "/v1/ticks", strings.Replace(tick, "2020", "0020", 1), "time"},
		{"POST", "/v1/ticks", strings.Replace(tick, "1}", `"1"}`, 1), "price"},
		{"POST", "/v1/ticks", strings.Replace(tick, "live", "", 1), "feed"},
		{"POST", "/v1/ticks", "{", ""},
		{"POST", "/v1/ticks", strings.Replace(tick, "id", "di", 1), ""},
		{"POST", "/v1/ticks", `{"id":"` + strings.Repeat("a", 70<<10) + `"}`, ""},
	} {
		w := mibtest.Do(h, c.method, c.target, c.body)
		var p struct {
			Error struct{ Code, Field, Message string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code < 400 || w.Code >= 500 || p.Error.Field != c.field || p.Error.Code == "" || p.Error.Message == "" {
			t.Errorf("%s %.60s %.60s: %d %s", c.method, c.target, c.body, w.Code, w.Body)
		}
	}
}

// A POST that was answered with 2xx is in the topic, once for each id.
func TestPostIsInTheTopic(t *testing.T) {
	brokers, producer := broker(t)
	h := generated(t, brokers, producer)
	body := `{"feed":"live","symbol":"WTI","time":"2020-04-20T00:00:00Z","price":-36.98,"source":"a test"}`
	w := mibtest.Do(h, "POST", "/v1/ticks", body, "Idempotency-Key", "key-1")
	var first, again api.Receipt
	if err := json.Unmarshal(w.Body.Bytes(), &first); err != nil || w.Code != 201 || first.ID != "key-1" {
		t.Fatal(w.Code, w.Body, err)
	}
	// It has come back from the topic; then the same id gets the same answer.
	mibtest.Until(t, "the price", func() bool {
		return strings.Contains(mibtest.Do(h, "GET", "/v1/live?feed=live", "").Body.String(), "-36.98")
	})
	w = mibtest.Do(h, "POST", "/v1/ticks", body, "Idempotency-Key", "key-1")
	if err := json.Unmarshal(w.Body.Bytes(), &again); err != nil || again != first || w.Header().Get("Idempotency-Replayed") != "true" {
		t.Errorf("%d %s %v", w.Code, w.Body, err)
	}
	if w := mibtest.Do(h, "POST", "/v1/ticks", strings.Replace(body, "36", "37", 1), "Idempotency-Key", "key-1"); w.Code != 409 || !strings.Contains(w.Body.String(), `"field":"id"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := mibtest.Do(h, "POST", "/v1/ticks", body); w.Code != 201 || strings.Contains(w.Body.String(), "key-1") {
		t.Errorf("without a key: %d %s", w.Code, w.Body)
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(stream.Ticks), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var there []string
	for len(there) < 2 {
		for _, r := range reader.PollFetches(t.Context()).Records() {
			tick, err := stream.DecodeTick(r.Value)
			if err != nil || tick.ID == "key-1" && (r.Offset != first.Offset || r.Partition != first.Partition) {
				t.Errorf("%s at %d/%d: %v", r.Value, r.Partition, r.Offset, err)
			}
			there = append(there, tick.ID)
		}
	}
	if len(there) != 2 || !slices.Contains(there, "key-1") {
		t.Errorf("in the topic: %v", there)
	}
}

// replica serves the API under a Lifecycle of its own.
type replica struct {
	l    *lifecycle.Lifecycle
	done chan error
	addr string
}

func startReplica(t *testing.T, brokers []string) *replica {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{
		l:    lifecycle.New(lifecycle.Options{Grace: 4 * time.Second, PropagationFloor: -1, PropagationCap: 50 * time.Millisecond, TerminationLog: "none"}),
		done: make(chan error, 1), addr: ln.Addr().String(),
	}
	hub := api.NewHub()
	r.l.Job("hub", func(ctx context.Context) error { return hub.Run(ctx, brokers, slog.New(slog.DiscardHandler)) })
	srv := &http.Server{Handler: (&api.Server{Lifecycle: r.l, Hub: hub, Now: time.Now}).Handler()}
	go func() { r.done <- r.l.HTTPListener(srv, ln).Run(context.WithoutCancel(t.Context())) }()
	return r
}

// A client that follows Last-Event-ID over ten interruptions, each at another
// replica, sees every alert once, although some are in the topic twice.
func TestEveryAlertOnceOverTenInterruptions(t *testing.T) {
	const interruptions, perTurn = 10, 30
	brokers, producer := broker(t)
	var current atomic.Pointer[string]
	// The address behind which replicas come and go. It forwards connections, so
	// that whatever a replica does to its streams reaches the client.
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer front.Close()
	go func() {
		for {
			in, err := front.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", *current.Load())
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()

	send := func(ids ...string) {
		var records []*kgo.Record
		for _, id := range ids {
			r, err := stream.Alert{ID: id, Kind: "anomaly"}.Record()
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	r := startReplica(t, brokers)
	current.Store(&r.addr)
	var mu sync.Mutex
	seen := make(map[string]int)
	var order []string
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- client.Alerts(ctx, "http://"+front.Addr().String(), client.All, func(a stream.Alert) {
			mu.Lock()
			defer mu.Unlock()
			seen[a.ID]++
			order = append(order, a.ID)
		}, func(message string) { t.Error(message) })
	}()
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(order) }
	var want []string
	for turn := range interruptions + 1 {
		for i := range perTurn {
			id := fmt.Sprintf("alert-%d-%d", turn, i)
			want = append(want, id)
			if send(id); i%7 == 0 {
				send(id, want[len(want)/2]) // an analytics process does its work again
			}
		}
		if turn == interruptions {
			break
		}
		// Some of this turn are there and others are still on their way.
		mibtest.Until(t, "alerts", func() bool { return count() > turn*perTurn })
		next := startReplica(t, brokers)
		current.Store(&next.addr)
		r.l.Drain()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		r = next
	}
	mibtest.Until(t, "all alerts", func() bool { return count() >= len(want) })
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	r.l.Drain()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if !slices.Equal(order, want) {
		t.Errorf("saw %d alerts, of them different ones %d; want %d, in their order", len(order), len(slices.Collect(maps.Keys(seen))), len(want))
	}
}
