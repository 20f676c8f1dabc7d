package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

var errStore = errors.New("API server unreachable")

// warning is the interruption warning for instance i-<n>.
func warning(n int) string {
	return fmt.Sprintf(`{"version":"0","id":"event-%d","detail-type":"EC2 Spot Instance Interruption Warning","source":"aws.ec2",`+
		`"time":%q,"detail":{"instance-id":"i-%d","instance-action":"terminate"}}`, n, time.Now().UTC().Format(time.RFC3339), n)
}

// rig runs a source against a fake queue in a synctest bubble, so that minutes
// pass at once.
type rig struct {
	*fakeQueue
	t      *testing.T
	log    *logText
	cancel context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	outcomes map[Outcome]int
	emitted  []interruption.Notice
	links    []bool
}

// logText is what was logged so far.
type logText struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// start runs a source until the test ends or stop is called. emit may be nil.
func start(t *testing.T, cfg SQSConfig, emit Emit) *rig {
	t.Helper()
	r := &rig{fakeQueue: newFakeQueue(), t: t, ended: make(chan struct{}), log: new(logText), outcomes: make(map[Outcome]int)}
	cfg.QueueURL = "http://127.0.0.1/1/q"
	cfg.Log = slog.New(slog.NewTextHandler(r.log, nil))
	cfg.Count = func(o Outcome) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.outcomes[o]++
	}
	cfg.Reachable = func(up bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.links = append(r.links, up)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		err := NewSQS(r, cfg).Run(ctx, func(ctx context.Context, n interruption.Notice) error {
			r.mu.Lock()
			r.emitted = append(r.emitted, n)
			r.mu.Unlock()
			if emit == nil {
				return nil
			}
			return emit(ctx, n)
		})
		if err != nil {
			t.Errorf("Run returned %v", err)
		}
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) stop() {
	r.cancel()
	<-r.ended
}

// pass lets d go by and everything come to rest.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// notices returns the notices emitted so far.
func (r *rig) notices() []interruption.Notice {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.emitted)
}

func (r *rig) count(o Outcome) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outcomes[o]
}

func (r *rig) expect(want map[Outcome]int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.Equal(r.outcomes, want) {
		r.t.Errorf("outcomes %v, want %v", r.outcomes, want)
	}
}

func (r *rig) expectHistory(want ...string) {
	r.t.Helper()
	if got := r.fakeQueue.log(); !slices.Equal(got, want) {
		r.t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestDeletedOnlyWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable := make(chan struct{})
		r := start(t, SQSConfig{}, func(ctx context.Context, n interruption.Notice) error {
			<-durable
			return nil
		})
		r.send(warning(1))
		r.pass(3 * time.Second)
		r.expectHistory()
		close(durable)
		r.pass(0)
		r.expectHistory("3s delete m1")
		r.expect(map[Outcome]int{Acknowledged: 1})
		n := r.notices()[0]
		if n.Instance != "i-1" || n.Deadline.Sub(n.Sent) != 2*time.Minute {
			t.Errorf("emitted %+v", n)
		}
	})
}

func TestSlowNoticeIsKeptHiddenAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable := make(chan struct{})
		r := start(t, SQSConfig{Pollers: 1}, func(ctx context.Context, n interruption.Notice) error {
			if n.Instance == "i-1" {
				<-durable
			}
			return nil
		})
		r.send(warning(1), warning(2))
		r.pass(0)
		r.send(warning(3))
		r.pass(25 * time.Second)
		close(durable)
		r.pass(0)
		r.expectHistory("0s delete m2", "0s delete m3", "10s hide m1 20s", "20s hide m1 20s", "25s delete m1")
		r.expect(map[Outcome]int{Acknowledged: 3})
	})
}

func TestFailingStoreIsTriedAgainHereThenGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outage := 40 * time.Second
		begin := time.Now()
		r := start(t, SQSConfig{}, func(context.Context, interruption.Notice) error {
			if time.Since(begin) < outage {
				return fmt.Errorf("storing the record: %w", errStore)
			}
			return nil
		})
		r.send(warning(1))
		r.pass(outage - time.Millisecond)
		if r.left() != 1 {
			t.Fatal("deleted although not durable")
		}
		// Received once per Hold, not once per try.
		if got := r.receives("m1"); got > 3 {
			t.Errorf("received %d times in %s, want at most 3", got, outage)
		}
		r.pass(1100 * time.Millisecond)
		if r.left() != 0 {
			t.Error("not stored within a second of the end of the outage")
		}
		if tries := len(r.notices()); tries < 30 || tries > 60 {
			t.Errorf("%d tries in %s, want about one a second", tries, outage)
		}
		r.expect(map[Outcome]int{GivenBack: 2, Acknowledged: 1})
	})
}

func TestForeignMessageIsLeftToItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{MaxForeign: 3}, func(_ context.Context, n interruption.Notice) error {
			return fmt.Errorf("instance %s: %w", n.Instance, interruption.ErrNotOurs)
		})
		r.send(warning(1))
		r.pass(36 * time.Second)
		r.expectHistory("0s hide m1 5s", "5s hide m1 5s", "10s hide m1 5s", "15s hide m1 10s", "25s hide m1 20s")
		r.pass(72 * time.Hour)
		if r.left() != 1 {
			t.Fatal("deleted a message of somebody else")
		}
		if n := r.receives("m1"); n > 320 {
			t.Errorf("received %d times in three days", n)
		}
	})
}

func TestForeignMessageBecomesOursWhenTheNodeRegisters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		r := start(t, SQSConfig{}, func(_ context.Context, n interruption.Notice) error {
			if time.Since(begin) < 12*time.Second {
				return interruption.ErrNotOurs
			}
			return nil
		})
		r.send(warning(1))
		r.pass(15 * time.Second)
		r.expect(map[Outcome]int{NotOurs: 3, Acknowledged: 1})
	})
}

// TestTwoClustersShareAQueue shows that each message reaches the cluster that
// owns its instance, although either may receive it first.
func TestTwoClustersShareAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 100
		// The instances of a cluster have numbers of one parity.
		clusters := func(parity int) Emit {
			return func(_ context.Context, n interruption.Notice) error {
				number, err := strconv.Atoi(strings.TrimPrefix(string(n.Instance), "i-"))
				if err != nil || number%2 != parity {
					return interruption.ErrNotOurs
				}
				return nil
			}
		}
		r := start(t, SQSConfig{}, clusters(0))
		other := NewSQS(r, SQSConfig{QueueURL: "http://127.0.0.1/1/q"})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = other.Run(ctx, clusters(1))
		}()
		for n := range messages {
			r.send(warning(n))
		}
		r.pass(10 * time.Minute)
		cancel()
		<-ended
		if r.left() != 0 {
			t.Errorf("%d of %d messages never reached their owner", r.left(), messages)
		}
		if taken := r.count(Acknowledged); taken != messages/2 {
			t.Errorf("the first cluster took %d, want %d", taken, messages/2)
		}
	})
}

func TestDuplicateIsEmittedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable := make(chan struct{})
		r := start(t, SQSConfig{}, func(context.Context, interruption.Notice) error {
			<-durable
			return nil
		})
		r.send(warning(1))
		r.pass(0)
		r.show("m1") // SQS delivers at least once
		r.pass(0)
		close(durable)
		r.pass(0)
		if len(r.notices()) != 2 || r.left() != 0 {
			t.Errorf("emitted %d times, %d messages left; want 2 and 0", len(r.notices()), r.left())
		}
	})
}

func TestFailedDeleteIsRedelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, nil)
		r.change(func() { r.noDelete = true })
		r.send(warning(1))
		r.pass(time.Second)
		r.change(func() { r.noDelete = false })
		r.pass(20 * time.Second)
		r.expect(map[Outcome]int{DeleteFailed: 1, Acknowledged: 1})
	})
}

func TestMalformedIsParkedAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, nil)
		r.send("not an event", "not an event either", `{"source":"aws.ec2"}`)
		r.send(warning(4))
		r.pass(time.Second)
		r.expect(map[Outcome]int{Malformed: 3, Acknowledged: 1})
		if got := strings.Count(r.log.String(), "malformed message"); got != 2 {
			t.Errorf("logged %d times, want once for each of two causes:\n%s", got, r.log)
		}
		r.pass(24 * time.Hour)
		if r.left() != 3 {
			t.Errorf("%d messages left, want 3 for the redrive policy", r.left())
		}
		if n := r.receives("m1"); n < 20 || n > 110 {
			t.Errorf("received %d times in a day, want about every 15 minutes", n)
		}
		if got := strings.Count(r.log.String(), "no redrive policy"); got != 1 {
			t.Errorf("the missing redrive policy was logged %d times, want once", got)
		}
	})
}

func TestIgnoredIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, nil)
		r.send(`{"source":"aws.ec2","detail-type":"EC2 Fleet Instance Change","detail":{}}`)
		r.pass(0)
		r.expect(map[Outcome]int{Ignored: 1})
		if r.left() != 0 || len(r.notices()) != 0 {
			t.Errorf("%d left, %d emitted", r.left(), len(r.notices()))
		}
	})
}

// maintenance is an AWS Health event about the instances i-<n>.
func maintenance(instances ...int) string {
	entities := make([]string, len(instances))
	for i, n := range instances {
		entities[i] = fmt.Sprintf(`{"entityValue":"i-%d"}`, n)
	}
	return fmt.Sprintf(`{"version":"0","id":"event","detail-type":"AWS Health Event","source":"aws.health","time":%q,`+
		`"detail":{"service":"EC2","eventTypeCode":"AWS_EC2_INSTANCE_STOP_SCHEDULED","eventTypeCategory":"scheduledChange",`+
		`"startTime":%q,"affectedEntities":[%s]}}`, time.Now().UTC().Format(time.RFC3339),
		time.Now().UTC().Add(time.Hour).Format(time.RFC1123), strings.Join(entities, ","))
}

func TestMessageWithSeveralNoticesIsDeletedWhenAllAreDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable := make(chan struct{})
		r := start(t, SQSConfig{}, func(_ context.Context, n interruption.Notice) error {
			if n.Instance == "i-2" {
				<-durable
			}
			return nil
		})
		r.send(maintenance(1, 2, 3))
		r.pass(time.Second)
		r.expectHistory()
		if n := len(r.notices()); n != 3 {
			t.Errorf("%d notices emitted, want 3: one that waits must not hold up the others", n)
		}
		close(durable)
		r.pass(0)
		r.expectHistory("1s delete m1")
		r.expect(map[Outcome]int{Acknowledged: 1})
	})
}

// TestMessageForTwoClusters: what is ours is stored, whatever comes before it in
// the message, and the rest is left to its owner.
func TestMessageForTwoClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, func(_ context.Context, n interruption.Notice) error {
			if n.Instance == "i-1" {
				return interruption.ErrNotOurs
			}
			return nil
		})
		r.send(maintenance(1, 2))
		r.pass(time.Second)
		r.expectHistory("0s hide m1 5s")
		r.expect(map[Outcome]int{NotOurs: 1})
		if n := len(r.notices()); n != 2 {
			t.Errorf("%d notices emitted, want 2", n)
		}
	})
}

func TestUnreachableQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, nil)
		r.setDown(true)
		r.send(warning(1))
		r.pass(0)
		before := r.polled()
		r.pass(10 * time.Minute)
		// Four pollers, each at most once per 5 to 10 s when backed off.
		if n := r.polled() - before; n > 4*150 {
			t.Errorf("%d polls of a dead queue in 10 minutes", n)
		}
		r.setDown(false)
		r.pass(10 * time.Second)
		r.expect(map[Outcome]int{Acknowledged: 1})
		if !slices.Equal(r.links, []bool{false, true}) {
			t.Errorf("reachable reported as %v, want once down and once up", r.links)
		}
		if got := strings.Count(r.log.String(), "reachable"); got != 2 {
			t.Errorf("outage logged %d times, want at its beginning and end:\n%s", got, r.log)
		}
	})
}

func TestStopGivesBackWhatIsNotDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, func(ctx context.Context, n interruption.Notice) error {
			<-ctx.Done()
			if n.Instance == "i-1" {
				return nil // became durable at the last moment
			}
			return ctx.Err()
		})
		r.send(warning(1), warning(2))
		r.pass(2 * time.Second)
		r.stop()
		got := r.fakeQueue.log()
		slices.Sort(got)
		if want := []string{"2s delete m1", "2s hide m2 1s"}; !slices.Equal(got, want) {
			t.Errorf("calls %q, want %q", got, want)
		}
	})
}

func TestStopWhileQueueIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, SQSConfig{}, nil)
		r.setDown(true)
		r.pass(time.Minute)
		r.stop() // synctest reports a goroutine that stays behind
	})
}

func TestInFlightIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durable := make(chan struct{})
		r := start(t, SQSConfig{InFlight: 25}, func(context.Context, interruption.Notice) error {
			<-durable
			return nil
		})
		for n := range 100 {
			r.send(warning(n))
		}
		r.pass(time.Minute)
		if n := len(r.notices()); n != 25 {
			t.Errorf("%d notices in flight, want 25", n)
		}
		close(durable)
		r.pass(time.Second)
		r.expect(map[Outcome]int{Acknowledged: 100})
	})
}

func TestGrow(t *testing.T) {
	for _, c := range []struct {
		d         time.Duration
		doublings int
		want      time.Duration
	}{
		{time.Second, -3, time.Second},
		{time.Second, 0, time.Second},
		{time.Second, 3, 8 * time.Second},
		{time.Second, 1 << 40, time.Minute},
		{time.Hour, 0, time.Minute},
	} {
		if got := grow(c.d, c.doublings, time.Minute); got != c.want {
			t.Errorf("grow(%s, %d) = %s, want %s", c.d, c.doublings, got, c.want)
		}
	}
}

func TestQueueURLTakesAURLAsItIs(t *testing.T) {
	const url = "https://sqs.us-east-1.amazonaws.com/123456789012/interruptions"
	got, err := QueueURL(t.Context(), nil, url)
	if err != nil || got != url {
		t.Errorf("got %q, %v", got, err)
	}
}
