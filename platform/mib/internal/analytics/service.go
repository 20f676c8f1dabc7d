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
	every   int // ticks of a partition between snapshots
	log     *slog.Logger
	client  *kgo.Client // sends alerts and states; the member's own client is another, for it calls this Service from its beginning

	mu     sync.Mutex
	owned  map[int32]*owned
	failed bool // an effect is missing: what is in memory must not become a snapshot
}

// owned is a partition of this member.
type owned struct {
	Snapshot
	unsaved int // ticks since the last snapshot
}

// Options configures a Service.
type Options struct {
	Brokers []string

	// Group is the consumer group. If empty, it is "analytics".
	Group string

	// SnapshotEvery is after how many ticks of a partition its state is written. If
	// zero, it is 500.
	SnapshotEvery int

	// Session is how long the group waits for a member that says nothing, and so how
	// long a partition of a killed member is silent. If zero, it is 10 s.
	Session time.Duration

	// Logger receives what is wrong. If nil, nothing is logged.
	Logger *slog.Logger
}

const takeoverTimeout = 10 * time.Second

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
	s := &Service{brokers: o.Brokers, every: o.SnapshotEvery, log: o.Logger, owned: make(map[int32]*owned)}
	var err error
	s.client, err = kgo.NewClient(
		kgo.SeedBrokers(o.Brokers...),
		kgo.RecordPartitioner(byTopic{kgo.ManualPartitioner(), kgo.StickyKeyPartitioner(nil)}),
	)
	if err != nil {
		return fmt.Errorf("starting analytics: %w", err)
	}
	member, err := kgo.NewClient(append(lifecyclekafka.Options(),
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
	lifecyclekafka.Register(l, "analytics", lifecyclekafka.Consumer{Client: member, Handle: s.handle, Logger: o.Logger})
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
		o := &owned{Snapshot: snapshots[p]}
		if o.State == nil {
			o.Snapshot = Snapshot{Version: snapshotVersion, State: NewState()}
		}
		s.owned[p] = o
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
	var alerts []*kgo.Record
	for _, r := range records {
		o := s.owned[r.Partition]
		if o == nil {
			return fmt.Errorf("a tick of partition %d came without its state", r.Partition)
		}
		if r.Offset < o.Offset {
			continue
		}
		tick, err := stream.DecodeTick(r.Value)
		if err != nil {
			// It will not get better by waiting; the API checks what it lets in.
			s.log.Warn("leaving out a record", "partition", r.Partition, "offset", r.Offset, "err", err)
		} else {
			for _, a := range o.State.Step(tick) {
				record, err := a.Record()
				if err != nil {
					return err
				}
				alerts = append(alerts, record)
			}
		}
		o.Offset = r.Offset + 1
		o.unsaved++
	}
	if err := s.client.ProduceSync(ctx, alerts...).FirstErr(); err != nil {
		return fmt.Errorf("sending alerts: %w", err)
	}
	var snapshots []*kgo.Record
	for p, o := range s.owned {
		if o.unsaved < s.every {
			continue
		}
		r, err := record(p, o.Snapshot)
		if err != nil {
			return err
		}
		snapshots = append(snapshots, r)
		o.unsaved = 0
	}
	if err := s.client.ProduceSync(ctx, snapshots...).FirstErr(); err != nil {
		return fmt.Errorf("writing snapshots: %w", err)
	}
	return nil
}

func record(partition int32, s Snapshot) (*kgo.Record, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a snapshot: %w", err)
	}
	return &kgo.Record{Topic: stream.State, Partition: partition, Key: fmt.Appendf(nil, "%s/%d", stream.Ticks, partition), Value: b}, nil
}
