package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle/snapshot"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// Options configures a Service.
type Options struct {
	Brokers []string

	// Dir is where snapshots are kept. If empty, there are none, and a start reads the
	// stream again.
	Dir string

	// WarmUp is how many ticks of each partition are read again at most when there is
	// no snapshot. If zero, it is 200,000.
	WarmUp int64

	// Logger receives what is wrong. If nil, nothing is logged.
	Logger *slog.Logger

	// Client has further options for the client, such as hooks.
	Client []kgo.Opt
}

// A Service keeps a State. It is safe for concurrent use once Start has returned.
type Service struct {
	o       Options
	client  *kgo.Client
	decoder stream.Decoder
	started atomic.Bool

	mu    sync.Mutex
	state *State
	more  chan struct{} // closed when there is another signal
}

// New returns a service that has not started. The topic must be there.
func New(o Options) *Service {
	if o.WarmUp <= 0 {
		o.WarmUp = 200_000
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{o: o, more: make(chan struct{})}
}

// Start loads the snapshot, if there is one that the topic still follows, and reads
// the topic up to where it ends now.
func (s *Service) Start(ctx context.Context) error {
	lookup, err := kgo.NewClient(kgo.SeedBrokers(s.o.Brokers...))
	if err != nil {
		return err
	}
	defer lookup.Close()
	begins, ends, err := bounds(ctx, kadm.NewClient(lookup))
	if err != nil {
		return fmt.Errorf("finding what there is: %w", err)
	}
	if s.state = s.load(begins, ends); s.state == nil {
		from := begins
		for p := range from {
			from[p] = max(begins[p], ends[p]-s.o.WarmUp)
		}
		s.state = NewState(from)
	}
	offsets := map[string]map[int32]kgo.Offset{stream.Ticks: {}}
	for p, at := range s.state.Position() {
		offsets[stream.Ticks][int32(p)] = kgo.NewOffset().At(at)
	}
	s.client, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(s.o.Brokers...), kgo.ConsumePartitions(offsets), kgo.FetchMaxWait(500 * time.Millisecond),
	}, s.o.Client...)...)
	if err != nil {
		return err
	}
	for behind(s.state.Position(), ends) {
		if err := s.poll(ctx); err != nil {
			return err
		}
	}
	s.started.Store(true)
	return nil
}

// Started reports whether Start has returned without an error.
func (s *Service) Started() bool { return s.started.Load() }

func bounds(ctx context.Context, admin *kadm.Client) (begins, ends Position, err error) {
	for _, b := range []struct {
		list func(context.Context, ...string) (kadm.ListedOffsets, error)
		into *Position
	}{{admin.ListStartOffsets, &begins}, {admin.ListEndOffsets, &ends}} {
		offsets, err := b.list(ctx, stream.Ticks)
		if err == nil {
			err = offsets.Error()
		}
		if err != nil {
			return begins, ends, err
		}
		for p := range b.into {
			if o, ok := offsets.Lookup(stream.Ticks, int32(p)); ok {
				b.into[p] = o.Offset
			}
		}
	}
	return begins, ends, nil
}

func behind(a, b Position) bool {
	for p := range a {
		if a[p] < b[p] {
			return true
		}
	}
	return false
}

const snapshotVersion = 1

func (s *Service) snapshots() snapshot.Store { return snapshot.Store{Dir: s.o.Dir, Name: "engine"} }

// load returns the newest snapshot that can be gone on from, or nil.
func (s *Service) load(begins, ends Position) *State {
	if s.o.Dir == "" {
		return nil
	}
	var state *State
	_, err := s.snapshots().Load(func(info snapshot.Info, r io.Reader) error {
		var err error
		state, err = decode(info, r)
		if err != nil {
			return err
		}
		if at := state.Position(); behind(at, begins) || behind(ends, at) {
			return errors.New("the topic does not have what comes after it")
		}
		return nil
	})
	if err != nil {
		if !errors.Is(err, snapshot.ErrNone) {
			s.o.Logger.Warn("reading the stream again", "err", err)
		}
		return nil
	}
	return state
}

func decode(info snapshot.Info, r io.Reader) (*State, error) {
	if info.Version != snapshotVersion {
		return nil, fmt.Errorf("version %d is unknown", info.Version)
	}
	state := new(State)
	if err := json.NewDecoder(r).Decode(state); err != nil {
		return nil, err
	}
	return state, state.check()
}

// Save writes a snapshot, if there is a place for it.
func (s *Service) Save(ctx context.Context) error {
	if s.o.Dir == "" || !s.Started() {
		return nil
	}
	s.mu.Lock()
	b, err := json.Marshal(s.state)
	offsets := make(map[string]int64)
	for p, at := range s.state.Position() {
		offsets[fmt.Sprintf("%s/%d", stream.Ticks, p)] = at
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.snapshots().Save(ctx, snapshot.Info{Version: snapshotVersion, Offsets: offsets}, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// Run follows the topic until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		if err := s.poll(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// Close gives the connections back. Run must have returned.
func (s *Service) Close() {
	if s.client != nil {
		s.client.Close()
	}
}

func (s *Service) poll(ctx context.Context) error {
	fetches := s.client.PollRecords(ctx, 10_000)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, e := range fetches.Errors() {
		s.o.Logger.Warn("reading", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	news := false
	for _, r := range fetches.Records() {
		t, err := s.decoder.Tick(r.Value)
		if err != nil {
			s.state.Skip(r.Partition, r.Offset) // analytics says so
			continue
		}
		_, ok := s.state.Step(r.Partition, r.Offset, t)
		news = news || ok
	}
	if news {
		close(s.more)
		s.more = make(chan struct{})
	}
	return nil
}

// Latest returns what State.Latest does, and the position after that.
func (s *Service) Latest(feed string) ([]Kept, Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Latest(feed), s.state.Position()
}

// Past returns what State.Past does.
func (s *Service) Past(feed, symbol string, n int) []Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Past(feed, symbol, n)
}

// After returns what State.After does, from where on signals are kept if some are not
// any more, and a channel that is closed when there are others.
func (s *Service) After(at Position, most int) (signals []Kept, from Position, gap bool, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	signals, gap = s.state.After(at, most)
	return signals, s.state.Kept(at), gap, s.more
}
