// Package lifecyclekafka ends a Kafka consumer (franz-go) without losing or
// repeating a record, and without leaving its partitions to the session time-out.
//
//	client, err := kgo.NewClient(append(lifecyclekafka.Options(),
//		kgo.SeedBrokers(brokers...), kgo.ConsumerGroup("analytics"), kgo.ConsumeTopics("trades"))...)
//	lifecyclekafka.Register(l, "trades", lifecyclekafka.Consumer{Client: client, Handle: handle})
//	err = l.Run(ctx)
//
// The consumer polls, handles, commits, and only then lets a rebalance happen.
// When the process begins to end it stops polling, finishes what it has polled,
// commits, leaves the group and closes the client. Leaving and closing have a
// time-out of their own: with a broker that is gone they would wait for ever.
//
// Delivery is at least once: a crash between handling and committing repeats
// records, so handlers still have to recognize what they have done.
package lifecyclekafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

const (
	defaultMaxRecords   = 500
	defaultLeaveTimeout = 2 * time.Second
	commitTimeout       = 10 * time.Second
)

// Options returns the options that a client needs to be run by Consumer: offsets
// are committed when records have been handled, and partitions do not change
// hands in between.
func Options() []kgo.Opt { return []kgo.Opt{kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll()} }

// A Consumer handles the records of a consumer group.
type Consumer struct {
	// Client has been made with Options and a group. It belongs to Run, which
	// closes it.
	Client *kgo.Client

	// Handle handles records in the order of their partitions. They are committed
	// when it returns nil; an error ends the process, and the records come again.
	// The context ends when there is no time left to finish.
	Handle func(ctx context.Context, records []*kgo.Record) error

	// MaxRecords is the largest number of records per call of Handle, and so what
	// an ending may have to wait for. If zero, it is 500.
	MaxRecords int

	// LeaveTimeout bounds leaving the group, and then closing the client. If zero,
	// it is 2 s.
	LeaveTimeout time.Duration

	// LeaveStatic makes a static member (kgo.InstanceID) leave, too. Without it, its
	// partitions wait for it to come back, until the session times out; that is
	// right if the replacement has the same instance id, as in a StatefulSet.
	LeaveStatic bool

	// Logger receives what is wrong but no reason to end. If nil, nothing is
	// logged.
	Logger *slog.Logger
}

// Register makes Run of l run c as a consumer of this name.
func Register(l *lifecycle.Lifecycle, name string, c Consumer) {
	l.Consumer(name, func(ctx context.Context) error { return c.Run(ctx, l.WorkContext()) })
}

// Run consumes until ctx ends, and returns when the group has been left and the
// client is closed, or could not be in time. What has been polled is handled and
// committed under the context work.
func (c Consumer) Run(ctx, work context.Context) error {
	if c.MaxRecords <= 0 {
		c.MaxRecords = defaultMaxRecords
	}
	if c.LeaveTimeout <= 0 {
		c.LeaveTimeout = defaultLeaveTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	defer c.close()
	for {
		if err := c.next(ctx, work); err != nil {
			if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
				return nil
			}
			return err
		}
	}
}

// next handles and commits what one poll brings.
func (c Consumer) next(ctx, work context.Context) error {
	fetches := c.Client.PollRecords(ctx, c.MaxRecords)
	defer c.Client.AllowRebalance()
	if err := ctx.Err(); err != nil {
		return err // anything that came with it is uncommitted, and the next member's
	}
	for _, f := range fetches.Errors() {
		if err := c.judge(f); err != nil {
			return err
		}
	}
	records := fetches.Records()
	if len(records) == 0 {
		return nil
	}
	if err := c.Handle(work, records); err != nil {
		return fmt.Errorf("handling records: %w", err)
	}
	// Under a context of its own: what has been handled is worth committing even
	// when no time is left to handle more.
	commit, cancel := context.WithTimeout(context.WithoutCancel(work), commitTimeout)
	defer cancel()
	if err := c.Client.CommitRecords(commit, records...); err != nil {
		return fmt.Errorf("committing offsets: %w", err)
	}
	return nil
}

// judge says which errors of a poll end the consumer. The client itself goes on
// after those that pass.
func (c Consumer) judge(f kgo.FetchError) error {
	var lost *kgo.ErrDataLoss
	var session *kgo.ErrGroupSession
	if errors.As(f.Err, &lost) || errors.As(f.Err, &session) || kerr.IsRetriable(f.Err) || kgo.IsRetryableBrokerErr(f.Err) {
		c.Logger.Warn("polling", "topic", f.Topic, "partition", f.Partition, "err", f.Err)
		return nil
	}
	return fmt.Errorf("polling %s/%d: %w", f.Topic, f.Partition, f.Err)
}

// close leaves the group and closes the client, each within LeaveTimeout.
func (c Consumer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), c.LeaveTimeout)
	defer cancel()
	if err := c.leave(ctx); err != nil {
		c.Logger.Warn("leaving the group", "err", err)
	}
	closed := make(chan struct{})
	go func() {
		c.Client.CloseAllowingRebalance()
		close(closed)
	}()
	limit := time.NewTimer(c.LeaveTimeout)
	defer limit.Stop()
	select {
	case <-closed:
	case <-limit.C:
		c.Logger.Warn("closing the client takes too long")
	}
}

func (c Consumer) leave(ctx context.Context) error {
	if instance, ok := c.Client.OptValue(kgo.InstanceID).(string); ok && instance != "" && c.LeaveStatic {
		group, _ := c.Client.OptValue(kgo.ConsumerGroup).(string)
		r := kmsg.NewPtrLeaveGroupRequest()
		r.Group = group
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID = &instance
		r.Members = append(r.Members, m)
		resp, err := r.RequestWith(ctx, c.Client)
		if err != nil {
			return err
		}
		for _, m := range resp.Members {
			if err := kerr.ErrorForCode(m.ErrorCode); err != nil {
				return err
			}
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}
	return c.Client.LeaveGroupContext(ctx)
}
