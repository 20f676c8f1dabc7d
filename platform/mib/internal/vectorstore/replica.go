// Package vectorstore is one replica of the documents: it follows the topic of texts,
// and answers what is like a question. The topic is what counts; a replica keeps what
// it has read, and up to where, in a store of its own, from which it goes on, or
// begins anew when it has none. All replicas that have read as far answer alike.
package vectorstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/corpus"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/embed"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/store"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/texts"
)

// Marks in the store.
const (
	markNext    = stream.Texts // the offset of the next record of the topic
	markLibrary = "library"    // the library has been added
)

// saveEvery is after how many changes a snapshot is written, so that the log that the
// next start reads stays short.
const saveEvery = 50_000

// embedBatch is how many texts are embedded at once.
const embedBatch = 2000

// Options configures a Replica.
type Options struct {
	Brokers  []string
	Store    *store.Store
	Embedder embed.Embedder // of the store's vectors

	// Library is what a new store begins with, before anything of the topic. It has
	// to be the same for all replicas.
	Library []corpus.Document

	// Logger receives what is wrong. If nil, nothing is logged.
	Logger *slog.Logger

	// Client has further options for the clients, such as hooks.
	Client []kgo.Opt
}

// A Replica is safe for concurrent use once Start has returned.
type Replica struct {
	o       Options
	client  *kgo.Client // reads texts from the store's mark on, and sends them
	unsaved int
	started atomic.Bool

	mu   sync.Mutex
	next int64         // of the topic: what is before it is in the store
	more chan struct{} // closed when next has grown
	end  int64         // where the topic ended when that was looked up last
}

// New returns a replica that has not started. The topic must be there.
func New(o Options) *Replica {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Replica{o: o, more: make(chan struct{})}
}

// Start adds the library to a store that has none, and reads the topic up to where it
// ends now. Before that, answers would lack something.
func (r *Replica) Start(ctx context.Context) error {
	if _, ok := r.o.Store.Marked(markLibrary); !ok {
		err := Fill(ctx, r.o.Store, r.o.Embedder, r.o.Library)
		if err == nil {
			err = r.o.Store.Commit(store.Mark(markLibrary, int64(len(r.o.Library))))
		}
		if err != nil {
			return fmt.Errorf("adding the library: %w", err)
		}
	}
	next, _ := r.o.Store.Marked(markNext)
	var err error
	r.client, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(r.o.Brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{stream.Texts: {0: kgo.NewOffset().At(next)}}),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.ProducerLinger(0),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
	}, r.o.Client...)...)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.next = next
	r.mu.Unlock()
	admin := kadm.NewClient(r.client)
	ends, err := admin.ListEndOffsets(ctx, stream.Texts)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("finding the last text: %w", err)
	}
	end, _ := ends.Lookup(stream.Texts, 0)
	if next > end.Offset {
		return fmt.Errorf("the store has read %d texts and the topic has %d: it belongs to another broker", next, end.Offset)
	}
	r.end = end.Offset
	for r.next < r.end {
		if err := r.poll(ctx); err != nil {
			return err
		}
	}
	r.started.Store(true)
	return nil
}

// Started reports whether Start has returned without an error.
func (r *Replica) Started() bool { return r.started.Load() }

// Run follows the topic until ctx ends.
func (r *Replica) Run(ctx context.Context) error {
	for {
		if err := r.poll(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if r.unsaved >= saveEvery {
			if err := r.Save(ctx); err != nil {
				r.o.Logger.Warn("saving", "err", err)
			}
			r.unsaved = 0 // not again at once, even if it failed
		}
	}
}

// Save writes a snapshot of the store.
func (r *Replica) Save(ctx context.Context) error { return r.o.Store.Save(ctx) }

// Close gives the connections back. Run must have returned.
func (r *Replica) Close() {
	if r.client != nil {
		r.client.Close()
	}
}

// Fill adds the documents that a store does not have, with their vectors.
func Fill(ctx context.Context, s *store.Store, e embed.Embedder, docs []corpus.Document) error {
	for part := range slices.Chunk(docs, embedBatch) {
		var missing []corpus.Document
		for _, d := range part {
			if !s.Has(d.ID) {
				missing = append(missing, d)
			}
		}
		ops, err := puts(ctx, e, missing)
		if err != nil {
			return err
		}
		if err := s.Commit(ops...); err != nil {
			return err
		}
	}
	return nil
}

// puts are the changes that add documents.
func puts(ctx context.Context, e embed.Embedder, docs []corpus.Document) ([]store.Op, error) {
	if len(docs) == 0 {
		return nil, nil
	}
	list := make([]string, len(docs))
	for i, d := range docs {
		list[i] = d.Text
	}
	vectors, err := e.Embed(ctx, list)
	if err != nil {
		return nil, err
	}
	ops := make([]store.Op, len(docs))
	for i, d := range docs {
		ops[i] = store.Put(store.Item{Document: d, Vector: vectors[i]})
	}
	return ops, nil
}

// poll takes what the topic brings next.
func (r *Replica) poll(ctx context.Context) error {
	fetches := r.client.PollRecords(ctx, embedBatch)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range fetches.Errors() {
		var lost *kgo.ErrDataLoss
		if errors.As(e.Err, &lost) {
			return fmt.Errorf("the topic of texts has lost what this replica has: %w", e.Err)
		}
		r.o.Logger.Warn("reading", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
	}
	records := fetches.Records()
	if len(records) == 0 {
		return nil
	}
	ops, err := r.changes(ctx, records)
	if err != nil {
		return err
	}
	next := records[len(records)-1].Offset + 1
	if err := r.o.Store.Commit(append(ops, store.Mark(markNext, next))...); err != nil {
		return err
	}
	r.unsaved += len(ops)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = next
	close(r.more)
	r.more = make(chan struct{})
	return nil
}

// changes are what records change. Of several with one id only the last counts, and a
// document that is there already, the same in everything, is left where it is.
func (r *Replica) changes(ctx context.Context, records []*kgo.Record) ([]store.Op, error) {
	last := make(map[string]int, len(records))
	list := make([]texts.Change, len(records))
	for i, rec := range records {
		c, err := texts.Decode(rec)
		if err != nil {
			// It will not get better by waiting; who sends texts checks them.
			r.o.Logger.Warn("leaving out a record", "topic", rec.Topic, "offset", rec.Offset, "err", err)
			continue
		}
		list[i] = c
		last[c.ID] = i
	}
	ops := make([]store.Op, 0, len(last))
	var docs []corpus.Document // those without a vector,
	var at []int               // and their places in ops
	for i, c := range list {
		if n, ok := last[c.ID]; !ok || n != i {
			continue
		}
		if c.Document == nil {
			ops = append(ops, store.Drop(c.ID))
			continue
		}
		own := c.Embedder == r.o.Embedder.ID() && len(c.Vector) == r.o.Embedder.Dim()
		if old, ok := r.o.Store.Get(c.ID); ok && same(old.Document, *c.Document) && (!own || slices.Equal(old.Vector, c.Vector)) {
			continue
		}
		if own {
			ops = append(ops, store.Put(store.Item{Document: *c.Document, Vector: c.Vector}))
			continue
		}
		docs, at = append(docs, *c.Document), append(at, len(ops))
		ops = append(ops, store.Op{})
	}
	embedded, err := puts(ctx, r.o.Embedder, docs)
	if err != nil {
		return nil, err
	}
	for i, op := range embedded {
		ops[at[i]] = op
	}
	return ops, nil
}

func same(a, b corpus.Document) bool {
	if !a.Date.Equal(b.Date) {
		return false
	}
	a.Date = b.Date
	return a == b
}

// Change sends changes to the topic, and waits until they are in this replica, too:
// who is answered finds what it has sent.
func (r *Replica) Change(ctx context.Context, changes ...texts.Change) error {
	records := make([]*kgo.Record, len(changes))
	for i, c := range changes {
		var err error
		if records[i], err = c.Record(); err != nil {
			return err
		}
	}
	if len(records) == 0 {
		return nil
	}
	if err := r.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("sending texts: %w", err)
	}
	return r.wait(ctx, records[len(records)-1].Offset+1)
}

func (r *Replica) wait(ctx context.Context, next int64) error {
	for {
		r.mu.Lock()
		reached, more := r.next >= next, r.more
		r.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Next returns the offset of the topic's next record.
func (r *Replica) Next() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// Collectors returns metrics.
func (r *Replica) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mib_vector_store_documents", Help: "Documents that can be found.",
		}, func() float64 { return float64(r.o.Store.Len()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "mib_vector_store_next_offset", Help: "The offset of the next text: what is before it in the topic has been read.",
		}, func() float64 { return float64(r.Next()) }),
	}
}
