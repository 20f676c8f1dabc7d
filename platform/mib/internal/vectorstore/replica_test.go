package vectorstore

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

type world struct {
	brokers  []string
	library  []corpus.Document
	embedder embed.Embedder
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	sample := market.Generate(market.Seed)
	w := &world{brokers: c.ListenAddrs(), library: corpus.Documents(sample)[:300]}
	w.embedder = embed.NewWords(sample.Vectors, corpus.Texts(w.library))
	client, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := stream.CreateTopics(t.Context(), client, 1); err != nil {
		t.Fatal(err)
	}
	return w
}

// start runs a replica in a folder until end is called, which takes it away like a
// kill does if hard, or with a snapshot.
func (w *world) start(t *testing.T, dir string) (s *Server, end func(hard bool)) {
	t.Helper()
	documents, err := store.OpenFor(dir, w.embedder.ID(), w.embedder.Dim())
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{Brokers: w.brokers, Store: documents, Embedder: w.embedder, Library: w.library})
	s = &Server{Replica: r, Synthetic: true}
	if _, err := s.Search(t.Context(), connect.NewRequest(&mibv1.SearchRequest{Text: "oil"})); connect.CodeOf(asConnect(err)) != connect.CodeUnavailable {
		t.Errorf("before it has read anything: %v", err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return s, func(hard bool) {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !hard {
			if err := r.Save(context.Background()); err != nil {
				t.Error(err)
			}
		}
		r.Close()
		_ = documents.Close()
	}
}

func asConnect(err error) error {
	if e, ok := problem.Of(err); ok {
		return e.Connect()
	}
	return err
}

func (w *world) upsert(t *testing.T, s *Server, docs ...corpus.Document) {
	t.Helper()
	req := new(mibv1.UpsertRequest)
	for _, d := range docs {
		req.Items = append(req.Items, &mibv1.Item{Document: toProto(d)})
	}
	if _, err := s.Upsert(t.Context(), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
}

// answers are those to some questions, as they are sent.
func answers(t *testing.T, s *Server) []string {
	t.Helper()
	var list []string
	for _, q := range []string{"crude oil drilling", "retail sales were weak", "wages and hiring", "a ship in the canal"} {
		for _, way := range []mibv1.Way{mibv1.Way_WAY_HYBRID, mibv1.Way_WAY_WORDS, mibv1.Way_WAY_MEANING} {
			k := int32(20)
			a, err := s.Search(t.Context(), connect.NewRequest(&mibv1.SearchRequest{Text: q, Way: way, K: &k}))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range a.Msg.GetHits() {
				list = append(list, fmt.Sprintf("%s %v %s %v", q, way, h.GetDocument().GetId(), h.GetSimilarity()))
			}
		}
	}
	return list
}

func text(id, words string) corpus.Document {
	return corpus.Document{ID: id, Kind: corpus.Passage, Date: time.Date(2021, 3, 23, 0, 0, 0, 0, time.UTC), Exact: true, Title: id, Text: words, Source: "a test"}
}

// However a replica comes to what it knows, it answers alike: from the topic alone,
// from what it kept when it was killed, from its snapshot, or all the time there.
func TestReplicasAnswerAlike(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	always, endAlways := w.start(t, t.TempDir())
	defer endAlways(true)

	s, end := w.start(t, dir)
	w.upsert(t, s, text("canal", "A ship blocked the canal; tankers with crude oil waited."), text("twin", "Retail sales were weak."), text("gone", "A ship in the canal."))
	before := answers(t, s)
	if len(before) == 0 {
		t.Fatal("no answers")
	}
	end(true) // killed

	s, end = w.start(t, dir)
	if got := answers(t, s); !reflect.DeepEqual(got, before) {
		t.Errorf("after a kill: %v\nbefore: %v", got, before)
	}
	// Sent again, replaced, deleted, one of the library, too.
	w.upsert(t, s, text("twin", "Retail sales were weak."), text("canal", "The canal is open again."))
	if _, err := s.Delete(t.Context(), connect.NewRequest(&mibv1.DeleteRequest{Ids: []string{"gone", "never was", w.library[0].ID}})); err != nil {
		t.Fatal(err)
	}
	changed := answers(t, s)
	if reflect.DeepEqual(changed, before) {
		t.Error("the changes change nothing")
	}
	if _, ok := s.Replica.o.Store.Get(w.library[0].ID); ok {
		t.Error("a document of the library is there that was deleted")
	}
	next := s.Replica.Next()
	end(false) // with a snapshot

	s, end = w.start(t, dir)
	defer end(true)
	if got := answers(t, s); !reflect.DeepEqual(got, changed) || s.Replica.Next() != next {
		t.Errorf("after a restart: %v\nbefore: %v", got, changed)
	}
	fresh, endFresh := w.start(t, t.TempDir())
	defer endFresh(true)
	if got := answers(t, fresh); !reflect.DeepEqual(got, changed) {
		t.Errorf("a new replica: %v\nthe old one: %v", got, changed)
	}
	if err := always.Replica.wait(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if got := answers(t, always); !reflect.DeepEqual(got, changed) {
		t.Errorf("one that was always there: %v\nthe other: %v", got, changed)
	}
	if a, b := always.Replica.o.Store.Len(), len(w.library)+2-1; a != b {
		t.Errorf("%d documents, not %d", a, b)
	}
}

func TestChangesAreChecked(t *testing.T) {
	w := newWorld(t)
	s, end := w.start(t, t.TempDir())
	defer end(true)
	for field, item := range map[string]*mibv1.Item{
		"items[0].vector":        {Document: toProto(text("a", "b")), Vector: []float32{1, 2}},
		"items[0].document.kind": {Document: toProto(corpus.Document{ID: "a", Date: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})},
		"items[0].document.date": {Document: toProto(corpus.Document{ID: "a", Kind: "k"})},
	} {
		_, err := s.Upsert(t.Context(), connect.NewRequest(&mibv1.UpsertRequest{Items: []*mibv1.Item{item}}))
		e, ok := problem.Of(err)
		if !ok || e.Problems[0].GetField() != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	long := make([]float32, w.embedder.Dim())
	long[0] = 2
	if _, err := s.Upsert(t.Context(), connect.NewRequest(&mibv1.UpsertRequest{Items: []*mibv1.Item{{Document: toProto(text("a", "b")), Vector: long}}})); err == nil {
		t.Error("a vector of length 2 is taken: its cosines would be")
	}
}

// What a replica has kept belongs to one topic.
func TestAnotherBroker(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	s, end := w.start(t, dir)
	w.upsert(t, s, text("a", "b"))
	end(true)
	w.brokers = newWorld(t).brokers
	documents, err := store.OpenFor(dir, w.embedder.ID(), w.embedder.Dim())
	if err != nil {
		t.Fatal(err)
	}
	defer documents.Close()
	r := New(Options{Brokers: w.brokers, Store: documents, Embedder: w.embedder})
	defer r.Close()
	if err := r.Start(t.Context()); err == nil {
		t.Error("it goes on after texts that the topic does not have")
	}
}
