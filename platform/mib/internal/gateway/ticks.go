package gateway

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/problem"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
	mibv1 "github.com/evenkeel-dev/evenkeel/platform/mib/proto/mib/v1"
)

// ticks are those that are on their way to the broker, by id: the same one sent
// twice at the same moment is recorded once.
type ticks struct {
	mu  sync.Mutex
	now map[string]*sending
}

type sending struct {
	tick stream.Tick
	done chan struct{} // closed when receipt and err are there
	receipt
	err error

	again bool // it was in the topic already
}

type receipt struct {
	partition int32
	offset    int64
}

// produceTime is how long the broker may take.
const produceTime = 4 * time.Second

// CreateTick answers once the broker has acknowledged the tick. The id is that of
// the tick, or the Idempotency-Key, or a new one. The same id again gets the answer of the
// first one while that is among the last ticks of the topic; after that, or at another
// replica before it has come back from there, the tick is in the topic twice, and
// whoever reads it recognizes the id.
func (in intel) CreateTick(ctx context.Context, r *connect.Request[mibv1.CreateTickRequest]) (*connect.Response[mibv1.CreateTickResponse], error) {
	q := r.Msg.GetTick()
	t := stream.Tick{ID: q.GetId(), Feed: q.GetFeed(), Symbol: q.GetSymbol(), Time: q.GetTime().AsTime(), Price: q.GetPrice(), Source: q.GetSource()}
	if t.ID == "" {
		t.ID = r.Header().Get("Idempotency-Key")
	}
	if t.ID == "" {
		t.ID = stream.NewID(in.Now())
	}
	if err := t.Check(); err != nil {
		return nil, err // a *stream.FieldError: the key may be none that an id can be
	}
	s, first := in.ticks.begin(t)
	if first {
		s.err = in.send(ctx, s)
		in.ticks.end(s)
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	if !same(s.tick, t) {
		return nil, used()
	}
	resp := connect.NewResponse(&mibv1.CreateTickResponse{Id: t.ID, Partition: s.partition, Offset: s.offset})
	if !first || s.again {
		resp.Header().Set("Idempotency-Replayed", "true")
	}
	return resp, nil
}

func used() error {
	return problem.New(connect.CodeAlreadyExists, "id_used", "id", "belongs to another tick")
}

func same(a, b stream.Tick) bool {
	return a.Time.Equal(b.Time) && a.Feed == b.Feed && a.Symbol == b.Symbol && a.Price == b.Price && a.Source == b.Source
}

// send records a tick, unless it is in the topic already.
func (in intel) send(ctx context.Context, s *sending) error {
	if before, partition, offset, ok := in.Hub.Accepted(s.tick.ID); ok {
		if !same(before, s.tick) {
			return used()
		}
		s.receipt, s.again = receipt{partition, offset}, true
		return nil
	}
	record, err := s.tick.Record()
	if err != nil {
		return err
	}
	// Not under the request's context: what is on its way to the broker when the
	// client goes is recorded or not, but never half. Its span goes with it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), produceTime)
	defer cancel()
	if err := in.Producer.ProduceSync(ctx, record).FirstErr(); err != nil {
		in.Log.Warn("a tick was not recorded", "err", err)
		return problem.New(connect.CodeUnavailable, problem.NotRecorded, "", "the broker did not acknowledge; send it again with the same id")
	}
	s.receipt = receipt{record.Partition, record.Offset}
	return nil
}

// begin returns who sends the tick with this id now, and whether that is the caller.
func (t *ticks) begin(tick stream.Tick) (_ *sending, first bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s, ok := t.now[tick.ID]; ok {
		return s, false
	}
	s := &sending{tick: tick, done: make(chan struct{})}
	if t.now == nil {
		t.now = make(map[string]*sending)
	}
	t.now[tick.ID] = s
	return s, true
}

func (t *ticks) end(s *sending) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.now, s.tick.ID)
	close(s.done)
}
