// Package notify tells people about interruptions: when they are noticed and how
// they ended, by webhook, Slack and whatever else implements Channel. It keeps no
// one waiting: events are taken in at once, collected into few Messages, and
// delivered by a goroutine per channel, with retries. What cannot be delivered is
// given up after a while, counted and logged.
package notify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/drain"
)

// Channel is one way to reach people.
type Channel interface {
	// Name is for logs and metrics. It must hold no secret.
	Name() string
	// Send delivers a Message, or says why it could not: an error of Permanent or
	// Later, or any other, which is tried again soon. The error must hold no secret.
	Send(ctx context.Context, m Message) error
}

// permanent marks an error that trying again does not mend.
type permanent struct{ error }

// Permanent returns an error for which a Message is given up at once.
func Permanent(err error) error { return permanent{err} }

// later marks an error after which the receiver wants to be left alone.
type later struct {
	error
	after time.Duration
}

// Later returns an error for which a Message is tried again after a while.
func Later(err error, after time.Duration) error { return later{err, after} }

// What became of a Message, for the count.
const (
	Sent    = "sent"
	Retried = "retried"
	Failed  = "failed"
	Dropped = "dropped"
)

// Config holds a Notifier's settings.
type Config struct {
	// Cluster names the cluster in every Message. May be empty.
	Cluster  string
	Channels []Channel
	Log      *slog.Logger
	// Count, if not nil, is told what became of each Message on each channel.
	Count func(channel, outcome string)
	// Timeout bounds one attempt. If zero, defaults to 10 s.
	Timeout time.Duration
	// GiveUp is how long a Message is tried. If zero, defaults to 10 min: what is
	// older tells nobody anything.
	GiveUp time.Duration
	// Flush is how long Run goes on delivering after its context has ended. If zero,
	// defaults to 5 s.
	Flush time.Duration
}

// The bounds of what waits to be delivered on one channel, and of how often.
const (
	queueLength  = 100
	spacing      = time.Second // Slack takes one message a second
	firstBackoff = time.Second
	mostBackoff  = time.Minute
	mostLater    = 5 * time.Minute // however long a receiver asks for
)

// Notifier collects events and delivers Messages. Use New to make one.
type Notifier struct {
	cfg  Config
	wake chan struct{} // buffered: there is something to look at

	mu    sync.Mutex
	batch batcher
}

// New returns a Notifier. It does nothing until Run is called.
func New(cfg Config) *Notifier {
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.GiveUp == 0 {
		cfg.GiveUp = 10 * time.Minute
	}
	if cfg.Flush == 0 {
		cfg.Flush = 5 * time.Second
	}
	if cfg.Count == nil {
		cfg.Count = func(string, string) {}
	}
	return &Notifier{cfg: cfg, wake: make(chan struct{}, 1), batch: batcher{cluster: cfg.Cluster, groups: make(map[group]*collected)}}
}

// Observe takes one event in. It returns at once.
func (n *Notifier) Observe(e drain.Event) {
	n.mu.Lock()
	before := n.batch.next()
	n.batch.add(e, time.Now())
	changed := !n.batch.next().Equal(before)
	n.mu.Unlock()
	if changed {
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
}

// Run delivers until ctx ends, and then for at most Flush more.
func (n *Notifier) Run(ctx context.Context) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	queues := make([]chan Message, len(n.cfg.Channels))
	var wg sync.WaitGroup
	for i, c := range n.cfg.Channels {
		queues[i] = make(chan Message, queueLength)
		wg.Go(func() { n.deliver(working, ctx.Done(), c, queues[i]) })
	}
	put := func(messages []Message) {
		for _, m := range messages {
			for i, q := range queues {
				n.enqueue(n.cfg.Channels[i], q, m)
			}
		}
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		n.mu.Lock()
		messages, next := n.batch.take(time.Now(), false), n.batch.next()
		n.mu.Unlock()
		put(messages)
		if next.IsZero() {
			timer.Reset(time.Hour)
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-n.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	n.mu.Lock()
	rest := n.batch.take(time.Now(), true)
	n.mu.Unlock()
	put(rest)
	for _, q := range queues {
		close(q)
	}
	defer time.AfterFunc(n.cfg.Flush, stop).Stop()
	wg.Wait()
	return nil
}

// enqueue puts a Message at the end of a channel's queue. If that is full, the
// oldest one in it makes room: news is worth more.
func (n *Notifier) enqueue(c Channel, q chan Message, m Message) {
	for {
		select {
		case q <- m:
			return
		default:
		}
		select {
		case old := <-q:
			n.cfg.Count(c.Name(), Dropped)
			n.cfg.Log.Warn("dropping a notification: too many wait", "channel", c.Name(), "text", old.Text)
		default:
		}
	}
}

// deliver sends what a queue holds, one Message after the other, until the queue
// is closed and empty or ctx ends.
func (n *Notifier) deliver(ctx context.Context, closing <-chan struct{}, c Channel, q <-chan Message) {
	for m := range q {
		switch err := n.send(ctx, closing, c, m); {
		case err == nil:
			n.cfg.Count(c.Name(), Sent)
			n.cfg.Log.Info("notified", "channel", c.Name(), "event", m.Event, "nodes", m.Count, "text", m.Text)
		default:
			n.cfg.Count(c.Name(), Failed)
			n.cfg.Log.Error("giving a notification up", "channel", c.Name(), "event", m.Event, "nodes", m.Count, "text", m.Text, "err", err)
		}
		pause(ctx, closing, spacing)
	}
}

// send tries until a Message is delivered or given up, and returns the last error.
func (n *Notifier) send(ctx context.Context, closing <-chan struct{}, c Channel, m Message) error {
	until := time.Now().Add(n.cfg.GiveUp)
	for backoff := firstBackoff; ; backoff = min(2*backoff, mostBackoff) {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
		err := c.Send(attempt, m)
		cancel()
		if err == nil {
			return nil
		}
		wait := backoff/2 + rand.N(backoff/2) // so that several do not knock together
		var never permanent
		var wanted later
		switch {
		case errors.As(err, &never):
			return err
		case errors.As(err, &wanted):
			wait = max(wait, min(wanted.after, mostLater))
		}
		if ctx.Err() != nil || time.Now().Add(wait).After(until) {
			return err
		}
		n.cfg.Count(c.Name(), Retried)
		n.cfg.Log.Warn("notifying; it will be tried again", "channel", c.Name(), "in", wait.Round(time.Millisecond), "err", err)
		pause(ctx, closing, wait)
	}
}

// pause waits. When the end has come there is no time for that, so it waits a
// little only.
func pause(ctx context.Context, closing <-chan struct{}, d time.Duration) {
	const hasty = 250 * time.Millisecond
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return
	case <-closing:
	case <-ctx.Done():
		return
	}
	t.Reset(min(d, hasty))
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
