package cloud

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	source "github.com/evenkeel-dev/evenkeel/internal/aws"
	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// TestSourceTakesEveryNotice runs the controller's source, with the client that
// it makes from the environment, against the cloud: 600 notices at once, some
// delivered twice, and the queue cut off in between.
func TestSourceTakesEveryNotice(t *testing.T) {
	const notices = 600
	c := startCloud(t, Config{Seed: 7})
	c.CreateQueue("interruptions")
	clientEnv(t, c)
	client, err := source.NewClient(t.Context(), "us-east-1")
	if err != nil {
		t.Fatal(err)
	}
	url, err := source.QueueURL(t.Context(), client, "interruptions")
	if err != nil {
		t.Fatal(err)
	}

	var (
		mu    sync.Mutex
		taken = make(map[interruption.InstanceID]int)
	)
	emit := func(_ context.Context, n interruption.Notice) error {
		mu.Lock()
		defer mu.Unlock()
		taken[n.Instance]++
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- source.NewSQS(client, source.SQSConfig{QueueURL: url}).Run(ctx, emit)
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()

	send := func(from int) time.Duration {
		begin := time.Now()
		for n := from; n < from+notices; n++ {
			body := SpotInterruptionWarning(fmt.Sprint("event-", n), "us-east-1", "123456789012", fmt.Sprintf("i-%017x", n), begin)
			if err := c.Send("interruptions", string(body)); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "the queue to be empty", func() bool {
			s, _ := c.QueueStats("interruptions")
			return s.Deleted == from+notices
		})
		return time.Since(begin)
	}

	took := send(0)
	t.Logf("%d notices emitted and acknowledged in %s", notices, took.Round(time.Millisecond))

	if err := c.Duplicate("interruptions", 50); err != nil {
		t.Fatal(err)
	}
	c.Unreachable(true)
	time.AfterFunc(500*time.Millisecond, func() { c.Unreachable(false) })
	took = send(notices)
	t.Logf("%d more, 50 of them delivered twice, with the queue cut off for 0.5 s: %s", notices, took.Round(time.Millisecond))

	mu.Lock()
	defer mu.Unlock()
	if len(taken) != 2*notices {
		t.Errorf("%d notices emitted, want %d", len(taken), 2*notices)
	}
}

// TestEventsAreDecoded holds the events that are written against the decoder
// that the controller reads them with.
func TestEventsAreDecoded(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 15, 30, 999_000_000, time.UTC)
	const instance = "i-1234567890abcdef0"
	for _, row := range []struct {
		payload  []byte
		kind     interruption.Kind
		action   string
		deadline time.Time
	}{
		{SpotInterruptionWarning("e1", "us-east-2", "123456789012", instance, at), interruption.SpotInterruption, "terminate", at.Truncate(time.Second).Add(2 * time.Minute)},
		{RebalanceRecommendation("e2", "us-east-2", "123456789012", instance, at), interruption.Rebalance, "", time.Time{}},
		{StateChange("e3", "us-east-2", "123456789012", instance, "shutting-down", at), interruption.StateChange, "terminate", at.Truncate(time.Second)},
	} {
		got, err := interruption.DecodeAWS(row.payload, 2*time.Minute, at)
		if err != nil {
			t.Errorf("%s: %v", row.kind, err)
			continue
		}
		if n := got[0]; n.Kind != row.kind || n.Action != row.action || n.Instance != instance || !n.Deadline.Equal(row.deadline) {
			t.Errorf("%s: got %+v", row.kind, n)
		}
	}
}

// TestEventBytes is the exact text of one event of each type.
func TestEventBytes(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 15, 30, 0, time.UTC)
	const (
		id     = "12345678-1234-1234-1234-123456789012"
		before = `{"version":"0","id":"12345678-1234-1234-1234-123456789012","detail-type":`
		middle = `,"source":"aws.ec2","account":"123456789012","time":"2026-03-01T10:15:30Z","region":"us-east-2",` +
			`"resources":["arn:aws:ec2:us-east-2:123456789012:instance/i-1234567890abcdef0"],"detail":{"instance-id":"i-1234567890abcdef0"`
	)
	for got, want := range map[string]string{
		string(SpotInterruptionWarning(id, "us-east-2", "123456789012", "i-1234567890abcdef0", at)): before +
			`"EC2 Spot Instance Interruption Warning"` + middle + `,"instance-action":"terminate"}}`,
		string(RebalanceRecommendation(id, "us-east-2", "123456789012", "i-1234567890abcdef0", at)): before +
			`"EC2 Instance Rebalance Recommendation"` + middle + `}}`,
		string(StateChange(id, "us-east-2", "123456789012", "i-1234567890abcdef0", "stopping", at)): before +
			`"EC2 Instance State-change Notification"` + middle + `,"state":"stopping"}}`,
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
