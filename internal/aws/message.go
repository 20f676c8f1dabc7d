package aws

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

const (
	// settleTimeout bounds one call that ends or hides a message.
	settleTimeout = 5 * time.Second
	// longestHidden is the most that a message is put aside.
	longestHidden = 15 * time.Minute
	// malformedHidden is how long a malformed message is put aside at first.
	malformedHidden = 5 * time.Second
	// givenBackHidden keeps a notice that nobody can store from circling, and one that
	// is given back at the end from going to a long poll of this very process that has
	// just been cancelled and that the queue still takes for open: nobody would see it
	// again before its visibility timeout.
	givenBackHidden = time.Second
)

// handle brings one message to its outcome.
func (s *SQS) handle(ctx context.Context, m message, emit Emit) {
	switch {
	case errors.Is(m.err, interruption.ErrIgnored):
		s.cfg.Log.Debug("event ignored", "message", m.id, "event", m.err)
		s.remove(ctx, m, Ignored)
		return
	case m.err != nil:
		s.park(ctx, m)
		return
	}

	stop := s.keepHidden(ctx, m)
	err := s.store(ctx, m.notices, emit)
	stop()

	switch {
	case err == nil:
		s.remove(ctx, m, Acknowledged)
	case errors.Is(err, interruption.ErrNotOurs):
		s.hide(ctx, m, grow(s.cfg.ForeignVisibility, m.receives-s.cfg.MaxForeign, longestHidden))
		s.cfg.Count(NotOurs)
	case ctx.Err() != nil:
		s.hide(ctx, m, givenBackHidden)
		s.cfg.Count(GivenBack)
	default:
		s.cfg.Log.Warn("notice not stored; the message goes back to the queue",
			"message", m.id, "receives", m.receives, "err", err)
		s.hide(ctx, m, givenBackHidden)
		s.cfg.Count(GivenBack)
	}
}

// store emits the notices until they are durable, for at most Hold.
func (s *SQS) store(ctx context.Context, notices []interruption.Notice, emit Emit) error {
	giveUp := time.Now().Add(s.cfg.Hold)
	for failures := 0; ; failures++ {
		err := emitAll(ctx, notices, emit)
		if err == nil || errors.Is(err, interruption.ErrNotOurs) {
			return err
		}
		delay := grow(100*time.Millisecond, failures, time.Second)
		if time.Now().Add(delay).After(giveUp) || !pause(ctx, delay) {
			return err
		}
	}
}

// emitAll emits the notices of one message side by side, and returns nil only
// when all of them are durable. One that is not ours holds up none that is: each
// is emitted, and then the message is left to the other's owner. Trouble counts
// for more than that, since it passes. Emitting a notice again is harmless.
func emitAll(ctx context.Context, notices []interruption.Notice, emit Emit) error {
	errs := make([]error, len(notices))
	var all sync.WaitGroup
	for i, n := range notices[1:] {
		all.Go(func() { errs[i+1] = emit(ctx, n) })
	}
	errs[0] = emit(ctx, notices[0])
	all.Wait()
	var foreign error
	for _, err := range errs {
		switch {
		case errors.Is(err, interruption.ErrNotOurs):
			foreign = err
		case err != nil:
			return err
		}
	}
	return foreign
}

// park leaves a malformed message to the redrive policy, coming back ever later.
// Each distinct cause is logged once: the same broken rule may send thousands.
func (s *SQS) park(ctx context.Context, m message) {
	cause := "unknown"
	if bad, ok := errors.AsType[*interruption.MalformedError](m.err); ok {
		cause = bad.Field
	}
	if s.said.first(cause) {
		s.cfg.Log.Warn("malformed message left to the queue's redrive policy", "message", m.id, "err", m.err)
	}
	if m.receives > s.cfg.MaxMalformed && s.said.first("no redrive policy") {
		s.cfg.Log.Error("malformed message keeps coming back: the queue seems to have no redrive policy",
			"message", m.id, "receives", m.receives)
	}
	s.hide(ctx, m, grow(malformedHidden, m.receives-1, longestHidden))
	s.cfg.Count(Malformed)
}

// remove deletes the message. If that fails it is delivered again, which is
// harmless.
func (s *SQS) remove(ctx context.Context, m message, o Outcome) {
	ctx, cancel := settling(ctx)
	defer cancel()
	_, err := s.client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &s.cfg.QueueURL, ReceiptHandle: &m.receipt})
	if err != nil {
		s.cfg.Log.Warn("message not deleted; it will be delivered again", "message", m.id, "err", err)
		o = DeleteFailed
	}
	s.cfg.Count(o)
}

// hide makes the message visible after d. If that fails, it becomes visible when
// its present time is over, so an error changes only when.
func (s *SQS) hide(ctx context.Context, m message, d time.Duration) {
	ctx, cancel := settling(ctx)
	defer cancel()
	_, err := s.client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &s.cfg.QueueURL, ReceiptHandle: &m.receipt, VisibilityTimeout: seconds(d),
	})
	if err != nil {
		s.cfg.Log.Debug("visibility not changed", "message", m.id, "err", err)
	}
}

// keepHidden extends the message's visibility until stop is called, and stop
// returns when that has ended.
func (s *SQS) keepHidden(ctx context.Context, m message) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(s.cfg.Visibility / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.hide(ctx, m, s.cfg.Visibility)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// settling returns a context for a call that must still be made when ctx has
// ended: what was stored is acknowledged, what was not is given back.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}
