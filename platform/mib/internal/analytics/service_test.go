package analytics_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/analytics"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/market"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/mibtest"
	"github.com/evenkeel-dev/evenkeel/platform/mib/internal/stream"
)

// A process of this test that has this variable is a member of the group.
const memberEnv = "MIB_TEST_MEMBER"

func TestMain(m *testing.M) {
	if os.Getenv(brokerEnv) != "" {
		if err := broker(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if brokers := os.Getenv(memberEnv); brokers != "" {
		if err := member(context.Background(), strings.Split(brokers, ","), 3*time.Second, os.Stderr, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// member runs one member until ctx ends or a signal comes, and says when it would
// notice that.
func member(ctx context.Context, brokers []string, session time.Duration, log, out io.Writer) error {
	l := lifecycle.New(lifecycle.Options{Grace: 20 * time.Second, PropagationFloor: -1, TerminationLog: "none"})
	err := analytics.Register(l, analytics.Options{
		Brokers: brokers, SnapshotEvery: 40, Session: session,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	l.OnStart(func(context.Context) error { _, err := fmt.Fprintln(out, "started"); return err })
	return l.Run(ctx)
}

// world is a broker, what is in it, and who watches the alerts.
type world struct {
	brokers  []string
	producer *kgo.Client

	mu   sync.Mutex
	seen map[string]int // alerts by id: how often they were sent
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	w := &world{brokers: c.ListenAddrs(), seen: make(map[string]int)}
	w.producer, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(stream.Alerts), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.CreateTopics(t.Context(), w.producer, 1); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := w.producer.PollFetches(ctx)
			w.mu.Lock()
			for _, r := range fetches.Records() {
				w.seen[string(r.Key)]++
			}
			w.mu.Unlock()
		}
	}()
	t.Cleanup(func() { stop(); <-done; w.producer.Close() })
	return w
}

func (w *world) counts() (distinct, doubled int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.seen {
		if n > 1 {
			doubled++
		}
	}
	return len(w.seen), doubled
}

func (w *world) ids() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.seen))
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

// history is what happened from 2019 to May 2020, in six feeds so that every
// partition has something, with some events sent twice. With EVENKEEL_DATA it is
// what really happened.
func history(t *testing.T) []stream.Tick {
	t.Helper()
	sample, err := market.Load(os.Getenv("EVENKEEL_DATA"))
	if err != nil {
		t.Fatal(err)
	}
	from, to := time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2020, 6, 1, 0, 0, 0, 0, time.UTC)
	var ticks []stream.Tick
	for _, s := range sample.Series {
		for _, p := range s.Points {
			if p.Date.Before(from) || !p.Date.Before(to) {
				continue
			}
			for feed := range 6 {
				tick := stream.Tick{
					ID: fmt.Sprintf("feed%d/%s/%s", feed, s.Symbol, p.Date.Format(time.DateOnly)), Feed: fmt.Sprint("feed", feed),
					Symbol: string(s.Symbol), Time: p.Date, Price: p.Close, Source: s.Source,
				}
				ticks = append(ticks, tick)
				if len(ticks)%50 == 0 {
					ticks = append(ticks, tick)
				}
			}
		}
	}
	slices.SortStableFunc(ticks, func(a, b stream.Tick) int { return a.Time.Compare(b.Time) })
	return ticks
}

// expected are the alerts of an undisturbed run: the decision alone, without broker
// or group. What a partition's state knows of one series does not depend on which
// others are in it.
func expected(ticks []stream.Tick) []string {
	state := analytics.NewState()
	ids := make(map[string]bool)
	for _, t := range ticks {
		for _, a := range state.Step(t) {
			ids[a.ID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

func chunks(ticks []stream.Tick, n int) [][]stream.Tick {
	return slices.Collect(slices.Chunk(ticks, (len(ticks)+n-1)/n))
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for _, id := range want {
		if !slices.Contains(got, id) {
			t.Errorf("lost: %s", id)
		}
	}
	for _, id := range got {
		if !slices.Contains(want, id) {
			t.Errorf("not in the undisturbed run: %s", id)
		}
	}
}

// Processes are taken in turn by SIGTERM and by SIGKILL while prices come: the
// alerts are those of an undisturbed run, none lost, and de-duplicated by their IDs
// none doubled.
func TestMembersAreTakenAway(t *testing.T) {
	ticks := history(t)
	want := expected(ticks)
	w := newWorld(t)
	start := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), memberEnv+"="+strings.Join(w.brokers, ","))
		cmd.Stderr = t.Output()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A signal before this would end it as if there were no handler.
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
			t.Fatalf("a member says %q: %v", line, err)
		}
		return cmd
	}
	members := []*exec.Cmd{start(), start(), start()}
	defer func() {
		for _, m := range members {
			_ = m.Process.Kill()
			_ = m.Wait()
		}
	}()
	parts := chunks(ticks, 7)
	sent := 0
	for i, part := range parts {
		w.send(t, part)
		if i == len(parts)-1 {
			break // the last is left to those who are there
		}
		// So far that this part is being worked on, or done.
		before := len(expected(ticks[:sent]))
		sent += len(part)
		mibtest.Until(t, "alerts of what was sent before", func() bool { n, _ := w.counts(); return n >= before })
		old := members[i%3]
		if i%2 == 0 {
			_ = old.Process.Signal(syscall.SIGTERM)
			if err := old.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v", err)
			}
		} else {
			_ = old.Process.Kill()
			_ = old.Wait()
		}
		members[i%3] = start()
	}
	mibtest.Until(t, "all alerts", func() bool { n, _ := w.counts(); return n >= len(want) })
	for _, m := range members {
		_ = m.Process.Signal(syscall.SIGTERM)
		if err := m.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	}
	members = nil
	compare(t, w.ids(), want)
	distinct, doubled := w.counts()
	t.Logf("%d ticks, 3 SIGTERM and 3 SIGKILL among 3 members: %d alerts, as undisturbed; %d were sent more than once, with the same id", len(ticks), distinct, doubled)
}

// Members that end by themselves hand over what they know: nothing is done twice.
func TestHandover(t *testing.T) {
	ticks := history(t)
	want := expected(ticks)
	w := newWorld(t)
	type running struct {
		stop context.CancelFunc
		done chan error
	}
	start := func() running {
		ctx, stop := context.WithCancel(context.Background())
		r := running{stop, make(chan error, 1)}
		// A session so long that no busy machine makes the group believe that a member is dead.
		go func() { r.done <- member(ctx, w.brokers, 40*time.Second, t.Output(), io.Discard) }()
		return r
	}
	end := func(r running) {
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
	}
	members := []running{start(), start()}
	sent := 0
	for i, part := range chunks(ticks, 4) {
		w.send(t, part)
		before := len(expected(ticks[:sent]))
		sent += len(part)
		mibtest.Until(t, "alerts of what was sent before", func() bool { n, _ := w.counts(); return n >= before })
		end(members[i%2])
		members[i%2] = start()
	}
	mibtest.Until(t, "all alerts", func() bool { n, _ := w.counts(); return n >= len(want) })
	for _, m := range members {
		end(m)
	}
	compare(t, w.ids(), want)
	if _, doubled := w.counts(); doubled > 0 {
		t.Errorf("%d alerts were sent twice", doubled)
	}
}

// A record that is no tick is left out; those after it are not.
func TestNonsenseIsLeftOut(t *testing.T) {
	w := newWorld(t)
	ticks := history(t)
	good, err := ticks[0].Record()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.producer.ProduceSync(t.Context(), &kgo.Record{Topic: stream.Ticks, Key: good.Key, Value: []byte("nonsense")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.send(t, ticks)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- member(ctx, w.brokers, 40*time.Second, io.Discard, io.Discard) }()
	want := expected(ticks)
	mibtest.Until(t, "all alerts", func() bool { n, _ := w.counts(); return n >= len(want) })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	compare(t, w.ids(), want)

	// And the state that was handed over is there to be read.
	reader, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(stream.State))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var s analytics.Snapshot
	r := reader.PollFetches(t.Context()).Records()
	if len(r) == 0 || json.Unmarshal(r[0].Value, &s) != nil || s.State == nil {
		t.Errorf("no state: %v", r)
	}
}
