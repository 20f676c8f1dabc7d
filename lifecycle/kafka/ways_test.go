package lifecyclekafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What each way to end a member costs, side by side: records that are handled
// twice, and how long a partition stands still. Nothing is ever lost: what is not
// handled by one member is another's, later.
//
//	go test -run WaysToEnd -v .
func TestWaysToEnd(t *testing.T) {
	nextGen := []kgo.Opt{kgo.ServerSideBalancer()}
	for _, tt := range []struct {
		name    string
		start   func(*testing.T, *kfake.Cluster, *journal) ender
		once    bool // every record is handled once
		doubles bool // some are not: if none is, the test is blind
	}{
		{"SIGKILL, auto-commit every 5 s", plain(5*time.Second, (*plainMember).kill), false, true},
		{"SIGKILL, auto-commit every 0.5 s", plain(500*time.Millisecond, (*plainMember).kill), false, false},
		{"SIGTERM, Close at once, auto-commit", plain(5*time.Second, (*plainMember).close), false, false},
		{"SIGTERM, lifecycle", managed(), true, false},
		{"SIGTERM, lifecycle, KIP-848 group", managed(nextGen...), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			produced, j := interrupt(t, tt.start)
			distinct, doubled := j.count()
			t.Logf("%d records, %d interruptions: %d lost, %d doubled (%.2g %%), a partition stood still for %s at most", produced, interruptions,
				produced-distinct, doubled, 100*float64(doubled)/float64(produced), j.longest().Round(10*time.Millisecond))
			if distinct != produced {
				t.Errorf("%d of %d records handled", distinct, produced)
			}
			if tt.once && doubled > 0 {
				t.Errorf("%d records handled more than once", doubled)
			}
			if tt.doubles && doubled == 0 {
				t.Error("no record handled more than once: the test is blind")
			}
		})
	}
}

// interruptions is how many members end in a run.
const interruptions = 3

// ender is a member that ends in its way; end returns when its process would be
// gone.
type ender interface{ end(t *testing.T) }

// interrupt lets three members consume, and ends one after the other, with a new
// one in its place.
func interrupt(t *testing.T, start func(*testing.T, *kfake.Cluster, *journal) ender) (produced int, j *journal) {
	c := cluster(t)
	j = &journal{ledger: ledger{handled: make(map[string]int)}, latest: make(map[int32]time.Time)}
	stop := make(chan struct{})
	var load sync.WaitGroup
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("trades"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	load.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			for range 10 {
				r := kgo.StringRecord(fmt.Sprint("trade-", produced))
				r.Key = r.Value
				produced++
				producer.Produce(context.Background(), r, nil)
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	members := []ender{start(t, c, j), start(t, c, j), start(t, c, j)}
	handled := func() int { n, _ := j.count(); return n }
	for i := range interruptions {
		before := handled()
		until(t, "records", func() bool { return handled() > before+500 })
		members[i%3].end(t)
		members[i%3] = start(t, c, j)
	}
	close(stop)
	load.Wait()
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the last record", func() bool { return handled() == produced })
	for _, m := range members {
		m.end(t)
	}
	return produced, j
}

// journal is a ledger that also knows how long each partition stood still.
type journal struct {
	ledger
	latest map[int32]time.Time // when a partition was last handled
	gap    time.Duration
}

func (j *journal) handle(ctx context.Context, records []*kgo.Record) error {
	_ = j.ledger.handle(ctx, records)
	j.mu.Lock()
	defer j.mu.Unlock()
	at := time.Now()
	for _, r := range records {
		if before, ok := j.latest[r.Partition]; ok {
			j.gap = max(j.gap, at.Sub(before))
		}
		j.latest[r.Partition] = at
	}
	return nil
}

func (j *journal) longest() time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.gap
}

// managed members end as the library ends them.
func managed(opts ...kgo.Opt) func(*testing.T, *kfake.Cluster, *journal) ender {
	return func(t *testing.T, c *kfake.Cluster, j *journal) ender { return join(t, c, j.handle, nil, opts...) }
}

func (m *member) end(t *testing.T) {
	m.l.Drain()
	if err := m.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// plainMember is a consumer as tutorials have it.
type plainMember struct {
	client *kgo.Client
	wire   *wire
	dead   atomic.Bool // the process is gone: what it still does here does not count
	ended  chan struct{}
	how    func(*plainMember)
}

func plain(commit time.Duration, how func(*plainMember)) func(*testing.T, *kfake.Cluster, *journal) ender {
	return func(t *testing.T, c *kfake.Cluster, j *journal) ender {
		m := &plainMember{wire: new(wire), ended: make(chan struct{}), how: how}
		var err error
		m.client, err = kgo.NewClient(
			kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumerGroup("analytics"), kgo.ConsumeTopics("trades"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(commit), kgo.Dialer(m.wire.dial),
			kgo.HeartbeatInterval(200*time.Millisecond), kgo.SessionTimeout(2*time.Second), kgo.FetchMaxWait(200*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer close(m.ended)
			for !m.dead.Load() {
				fetches := m.client.PollRecords(t.Context(), 50)
				if fetches.IsClientClosed() || t.Context().Err() != nil {
					return
				}
				if records := fetches.Records(); len(records) > 0 && !m.dead.Load() {
					_ = j.handle(t.Context(), records)
				}
			}
		}()
		return m
	}
}

func (m *plainMember) end(*testing.T) {
	m.how(m)
	<-m.ended
}

// kill ends the member as SIGKILL does: nobody says anything any more.
func (m *plainMember) kill() {
	m.dead.Store(true)
	m.wire.cut()
	go m.client.CloseAllowingRebalance() // only frees what it holds here
}

// close ends the client from beside the loop that handles records.
func (m *plainMember) close() {
	m.client.CloseAllowingRebalance()
	m.dead.Store(true)
}

// wire is the network of one member.
type wire struct {
	mu    sync.Mutex
	conns []net.Conn
	isCut bool
}

var errCut = errors.New("the process is gone")

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return nil, errCut
	}
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		_ = c.Close()
	}
}
