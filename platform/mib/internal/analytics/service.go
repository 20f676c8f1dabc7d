package analytics

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclekafka "github.com/evenkeel-dev/evenkeel/lifecycle/kafka"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// A Service is one member of the group that shares the partitions of ticks.
//
// The order of effects is what makes it exact: alerts are acknowledged by the broker
// before a snapshot says that their ticks were used, and that before the group's
// offset is committed. Who takes over a partition begins at the offset of its
// snapshot, whatever the group believes. So after a crash nothing is lost, and what
// is done twice has the same IDs; after a handoff nothing is done twice at all,
// since the last snapshot is written when a partition is given up.
type Service struct {
	brokers []string
	every   int           // ticks of a partition between snapshots
	rest    time.Duration // and time
	now     func() time.Time
	log     *slog.Logger
	client  *kgo.Client // sends alerts and states; the member's own client is another, for it calls this Service from its beginning
	metrics *Metrics

	mu     sync.Mutex
	owned  map[int32]*owned
	failed bool // an effect is missing: what is in memory must not become a snapshot
}

// owned is a partition of this member.
type owned struct {
	Snapshot
	unsaved int       // ticks since the last snapshot
	saved   time.Time // when that was
	decoder stream.Decoder
}

// Options configures a Service.
type Options struct {
	Brokers []string

	// Group is the consumer group. If empty, it is "analytics".
	Group string

	// SnapshotEvery is after how many ticks of a partition its state is written, but
	// not more often than every SnapshotRest: a state is as large as some hundred
	// ticks, and what comes fast is also done again fast. If zero, they are 500 and
	// 250 ms; a negative rest is none.
	SnapshotEvery int
	SnapshotRest  time.Duration

	// Session is how long the group waits for a member that says nothing, and so how
	// long a partition of a killed member is silent. If zero, it is 10 s.
	Session time.Duration

	// Logger receives what is wrong. If nil, nothing is logged.
	Logger *slog.Logger

	// Metrics counts what the member does. If nil, nothing is counted.
	Metrics *Metrics

	// Client has further options for both of the member's clients, such as hooks.
	Client []kgo.Opt
}

const (
	takeoverTimeout = 10 * time.Second

	// maxRecords is how many ticks are used before their alerts are sent: enough
	// that waiting for the broker takes little of the time, few enough that an
	// ending does not wait long.
	maxRecords = 10_000
)

// Register makes Run of l run a member. The topics must be there.
func Register(l *lifecycle.Lifecycle, o Options) error {
	if o.Group == "" {
		o.Group = "analytics"
	}
	if o.SnapshotEvery <= 0 {
		o.SnapshotEvery = 500
	}
	if o.Session <= 0 {
		o.Session = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.SnapshotRest < 0:
		o.SnapshotRest = 0
	case o.SnapshotRest == 0:
		o.SnapshotRest = 250 * time.Millisecond
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics()
	}
	s := &Service{
		brokers: o.Brokers, every: o.SnapshotEvery, rest: o.SnapshotRest, now: time.Now, log: o.Logger,
		metrics: o.Metrics, owned: make(map[int32]*owned),
	}
	var err error
	s.client, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Brokers...),
		kgo.RecordPartitioner(byTopic{kgo.ManualPartitioner(), kgo.StickyKeyPartitioner(nil)}),
		kgo.ProducerLinger(0), // what is sent is a batch already, and is waited for
	}, o.Client...)...)
	if err != nil {
		return fmt.Errorf("starting analytics: %w", err)
	}
	s.metrics.follow(s.client)
	member, err := kgo.NewClient(append(append(lifecyclekafka.Options(), o.Client...),
		kgo.SeedBrokers(o.Brokers...),
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeTopics(stream.Ticks),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(o.Session),
		kgo.HeartbeatInterval(min(o.Session/5, time.Second)), // at which members learn of each other
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.AdjustFetchOffsetsFn(s.takeOver),
		kgo.OnPartitionsRevoked(s.handOver),
		kgo.OnPartitionsLost(s.drop),
	)...)
	if err != nil {
		s.client.Close()
		return fmt.Errorf("starting analytics: %w", err)
	}
	lifecyclekafka.Register(l, "analytics", lifecyclekafka.Consumer{Client: member, Handle: s.handle, MaxRecords: maxRecords, Logger: o.Logger})
	l.OnSave(func(context.Context) error { // the member has handed over by now
		s.client.Close()
		return nil
	})
	return nil
}

// byTopic chooses the partition of a state by hand and leaves the others to keys.
type byTopic struct{ state, others kgo.Partitioner }

func (b byTopic) ForTopic(topic string) kgo.TopicPartitioner {
	if topic == stream.State {
		return b.state.ForTopic(topic)
	}
	return b.others.ForTopic(topic)
}

// takeOver loads the states of partitions that this member was given, and says from
// where to read them.
func (s *Service) takeOver(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	var partitions []int32
	for p := range offsets[stream.Ticks] {
		partitions = append(partitions, p)
	}
	if len(partitions) == 0 {
		return offsets, nil
	}
	snapshots, err := s.load(ctx, partitions)
	if err != nil {
		return nil, fmt.Errorf("taking over partitions %v: %w", partitions, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range partitions {
		o := &owned{Snapshot: snapshots[p], saved: s.now()}
		if o.State == nil {
			o.Snapshot = Snapshot{Version: snapshotVersion, State: NewState()}
		}
		s.owned[p] = o
		s.metrics.own(p, o.Offset)
		offsets[stream.Ticks][p] = kgo.NewOffset().At(o.Offset)
	}
	return offsets, nil
}

// load reads the last record of each partition of the state topic: a partition has
// one key, and a compacted topic always keeps the last record of a key. A member
// that does not know yet that it has lost a partition may have written it; its
// snapshot is older, not wrong.
func (s *Service) load(ctx context.Context, partitions []int32) (map[int32]Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, takeoverTimeout)
	defer cancel()
	ends, err := kadm.NewClient(s.client).ListEndOffsets(ctx, stream.State)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	last := make(map[int32]kgo.Offset)
	for _, p := range partitions {
		if end, ok := ends.Lookup(stream.State, p); ok && end.Offset > 0 {
			last[p] = kgo.NewOffset().At(end.Offset - 1)
		}
	}
	snapshots := make(map[int32]Snapshot)
	if len(last) == 0 {
		return snapshots, nil
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{stream.State: last}))
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	for len(snapshots) < len(last) {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		for _, r := range fetches.Records() {
			snapshot, err := decodeSnapshot(r.Value)
			if err != nil {
				return nil, fmt.Errorf("partition %d: %w", r.Partition, err)
			}
			snapshots[r.Partition] = snapshot
		}
	}
	return snapshots, nil
}

// handOver writes the states of partitions that this member gives up, before the
// group gives them to others.
func (s *Service) handOver(ctx context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var records []*kgo.Record
	for _, p := range lost[stream.Ticks] {
		if o := s.owned[p]; o != nil && o.unsaved > 0 && !s.failed {
			r, err := record(p, o.Snapshot)
			if err != nil {
				s.log.Error("handing over", "partition", p, "err", err)
				continue
			}
			records = append(records, r)
		}
		delete(s.owned, p)
		s.metrics.disown(p)
	}
	if err := s.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		s.log.Warn("handing over: the next owner plays some ticks again", "err", err)
	}
}

// drop forgets partitions that others may have already.
func (s *Service) drop(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range lost[stream.Ticks] {
		delete(s.owned, p)
		s.metrics.disown(p)
	}
}

// handle uses ticks. If it fails, the member ends, and its partitions go on
// elsewhere from their snapshots.
func (s *Service) handle(ctx context.Context, records []*kgo.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed {
		return errors.New("an earlier effect is missing")
	}
	if err := s.use(ctx, records); err != nil {
		s.failed = true
		return err
	}
	return nil
}

func (s *Service) use(ctx context.Context, records []*kgo.Record) error {
	parts, err := s.step(records)
	if err != nil {
		return err
	}
	var alerts []*kgo.Record
	for _, p := range parts {
		alerts = append(alerts, p.alerts...)
	}
	if err := s.client.ProduceSync(ctx, alerts...).FirstErr(); err != nil {
		return fmt.Errorf("sending alerts: %w", err)
	}
	var snapshots []*kgo.Record
	now := s.now()
	for p, o := range s.owned {
		if o.unsaved < s.every || now.Sub(o.saved) < s.rest {
			continue
		}
		r, err := record(p, o.Snapshot)
		if err != nil {
			return err
		}
		snapshots = append(snapshots, r)
		o.unsaved, o.saved = 0, now
	}
	if err := s.client.ProduceSync(ctx, snapshots...).FirstErr(); err != nil {
		return fmt.Errorf("writing snapshots: %w", err)
	}
	for _, p := range parts {
		s.metrics.used(p)
	}
	return nil
}

// part is what one partition contributes to one batch, and what came of it.
type part struct {
	partition int32
	records   []*kgo.Record // in their order
	state     *owned

	offset int64 // of the next tick
	before counts
	after  counts
	bad    int // records that are no ticks
	alerts []*kgo.Record
	err    error
}

// counts are the counters of a state.
type counts struct{ repeated, late, outOfOrder int64 }

func (s *State) counts() counts { return counts{s.Repeated, s.Late, s.OutOfOrder} }

// step uses the ticks of each partition, beside those of the others: partitions know
// nothing of each other.
func (s *Service) step(records []*kgo.Record) ([]*part, error) {
	var parts []*part
	index := make(map[int32]*part)
	for _, r := range records {
		p := index[r.Partition]
		if p == nil {
			o := s.owned[r.Partition]
			if o == nil {
				return nil, fmt.Errorf("a tick of partition %d came without its state", r.Partition)
			}
			p = &part{partition: r.Partition, state: o, before: o.State.counts()}
			index[r.Partition] = p
			parts = append(parts, p)
		}
		p.records = append(p.records, r)
	}
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() { p.err = p.step(s.log) })
	}
	wg.Wait()
	for _, p := range parts {
		if p.err != nil {
			return nil, p.err
		}
	}
	return parts, nil
}

func (p *part) step(log *slog.Logger) error {
	o := p.state
	for _, r := range p.records {
		if r.Offset < o.Offset {
			continue
		}
		tick, err := o.decoder.Tick(r.Value)
		if err != nil {
			// It will not get better by waiting; the API checks what it lets in.
			log.Warn("leaving out a record", "partition", r.Partition, "offset", r.Offset, "err", err)
			p.bad++
		} else {
			for _, a := range o.State.Step(tick) {
				record, err := a.Record()
				if err != nil {
					return err
				}
				record.Context = r.Context // an alert belongs to the trace of its tick
				p.alerts = append(p.alerts, record)
			}
		}
		o.Offset = r.Offset + 1
		o.unsaved++
	}
	p.offset, p.after = o.Offset, o.State.counts()
	return nil
}

func record(partition int32, s Snapshot) (*kgo.Record, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a snapshot: %w", err)
	}
	return &kgo.Record{Topic: stream.State, Partition: partition, Key: fmt.Appendf(nil, "%s/%d", stream.Ticks, partition), Value: b}, nil
}
