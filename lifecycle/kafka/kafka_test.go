package lifecyclekafka_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	lifecyclekafka "github.com/evenkeel-dev/evenkeel/lifecycle/kafka"
)

// hung is how long a test waits for what must happen at all.
const hung = 60 * time.Second

func cluster(t *testing.T) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(6, "trades"), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ledger counts how often each record was handled.
type ledger struct {
	mu      sync.Mutex
	handled map[string]int
	last    time.Time
}

func (l *ledger) handle(_ context.Context, records []*kgo.Record) error {
	time.Sleep(5 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		l.handled[string(r.Value)]++
	}
	l.last = time.Now()
	return nil
}

func (l *ledger) count() (distinct, doubled int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.handled {
		if n > 1 {
			doubled++
		}
	}
	return len(l.handled), doubled
}

// member is a consumer under a Lifecycle of its own.
type member struct {
	l    *lifecycle.Lifecycle
	done chan error
}

func join(t *testing.T, c *kfake.Cluster, handle func(context.Context, []*kgo.Record) error, change func(*lifecyclekafka.Consumer), opts ...kgo.Opt) *member {
	t.Helper()
	opts = append(append(lifecyclekafka.Options(),
		kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumerGroup("analytics"), kgo.ConsumeTopics("trades"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(200*time.Millisecond), kgo.SessionTimeout(5*time.Second), kgo.FetchMaxWait(200*time.Millisecond)), opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{l: lifecycle.New(lifecycle.Options{Grace: 15 * time.Second, TerminationLog: "none"}), done: make(chan error, 1)}
	consumer := lifecyclekafka.Consumer{Client: client, Handle: handle, MaxRecords: 50}
	if change != nil {
		change(&consumer)
	}
	lifecyclekafka.Register(m.l, "trades", consumer)
	go func() { m.done <- m.l.Run(context.WithoutCancel(t.Context())) }()
	return m
}

func (m *member) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-m.done:
		return err
	case <-time.After(hung):
		t.Fatal("hung: Run")
		return nil
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(hung); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("hung: %s", what)
		}
	}
}

// Three members, a steady stream of records, and one member after the other ends
// and is replaced: every record is handled once.
func TestMembersComeAndGo(t *testing.T) {
	const (
		rate  = 1000 // records per second
		turns = 4
	)
	c := cluster(t)
	book := &ledger{handled: make(map[string]int)}
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("trades"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()

	stop, produced := make(chan struct{}), 0
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for range rate / 100 {
				r := kgo.StringRecord(fmt.Sprint("trade-", produced))
				r.Key = r.Value
				produced++
				producer.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("producing: %v", err)
					}
				})
			}
		}
	})

	members := []*member{join(t, c, book.handle, nil), join(t, c, book.handle, nil), join(t, c, book.handle, nil)}
	handled := func() int { n, _ := book.count(); return n }
	until(t, "the first records", func() bool { return handled() > 500 })
	for i := range turns {
		old := members[i%3]
		old.l.Drain()
		if err := old.wait(t); err != nil {
			t.Errorf("Run: %v", err)
		}
		members[i%3] = join(t, c, book.handle, nil)
		before := handled()
		until(t, "records after a change", func() bool { return handled() > before+500 })
	}
	close(stop)
	load.Wait()
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the last record", func() bool { return handled() == produced })
	for _, m := range members {
		m.l.Drain()
	}
	for _, m := range members {
		if err := m.wait(t); err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	n, doubled := book.count()
	t.Logf("%d records, %d members ended: %d lost, %d doubled", produced, turns, produced-n, doubled)
	if n != produced || doubled != 0 {
		t.Errorf("%d of %d records handled, %d more than once", n, produced, doubled)
	}
}

// A member that leaves frees its partitions at once, a static one only if it is
// told to.
func TestLeaving(t *testing.T) {
	for _, tt := range []struct {
		name   string
		static bool
		leave  bool
		stays  bool // in the group
	}{
		{"dynamic", false, false, false},
		{"static", true, false, true},
		{"static that leaves", true, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(t)
			var opts []kgo.Opt
			if tt.static {
				opts = append(opts, kgo.InstanceID("analytics-0"))
			}
			book := &ledger{handled: make(map[string]int)}
			m := join(t, c, book.handle, func(c *lifecyclekafka.Consumer) { c.LeaveStatic = tt.leave }, opts...)
			producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("trades"))
			if err != nil {
				t.Fatal(err)
			}
			defer producer.Close()
			if err := producer.ProduceSync(t.Context(), kgo.StringRecord("one")).FirstErr(); err != nil {
				t.Fatal(err)
			}
			until(t, "the record", func() bool { n, _ := book.count(); return n == 1 })
			m.l.Drain()
			if err := m.wait(t); err != nil {
				t.Errorf("Run: %v", err)
			}
			if got := members(t, producer); (got > 0) != tt.stays {
				t.Errorf("%d members in the group", got)
			}
		})
	}
}

// A broker that is gone does not keep the process.
func TestBrokerGone(t *testing.T) {
	c := cluster(t)
	book := &ledger{handled: make(map[string]int)}
	m := join(t, c, book.handle, nil)
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("trades"))
	if err != nil {
		t.Fatal(err)
	}
	if err := producer.ProduceSync(t.Context(), kgo.StringRecord("one")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	producer.Close()
	until(t, "the record", func() bool { n, _ := book.count(); return n == 1 })
	c.Close()
	begun := time.Now()
	m.l.Drain()
	if err := m.wait(t); err != nil {
		t.Logf("Run: %v", err)
	}
	t.Logf("took %s", time.Since(begun).Round(time.Millisecond))
}

// A handler that fails ends the process, and its records come again.
func TestHandlerFails(t *testing.T) {
	c := cluster(t)
	m := join(t, c, func(context.Context, []*kgo.Record) error { return errors.New("disk full") }, nil)
	producer, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.DefaultProduceTopic("trades"))
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.ProduceSync(t.Context(), kgo.StringRecord("one")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := m.wait(t); err == nil || !strings.Contains(err.Error(), "running trades: handling records: disk full") {
		t.Errorf("Run: %v", err)
	}
	book := &ledger{handled: make(map[string]int)}
	next := join(t, c, book.handle, nil)
	until(t, "the record again", func() bool { n, _ := book.count(); return n == 1 })
	next.l.Drain()
	if err := next.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}
