package cloud

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Stats describes a queue. Visible, InFlight and Delayed say where its messages
// are now; the rest are totals since it was made.
type Stats struct {
	Visible  int
	InFlight int
	Delayed  int
	// Oldest is the age of the oldest message that is still there.
	Oldest time.Duration

	Sent         int
	Received     int // deliveries, repeated ones included
	Deleted      int
	StaleDeletes int // deletions by a receipt that had no power any more
	DeadLettered int
	Expired      int // not deleted within the retention period: lost
}

// queues holds the queues behind one lock and adds waiting to the pure core.
type queues struct {
	newID func() string

	mu     sync.Mutex
	byName map[string]*liveQueue
}

// liveQueue is a queue with the channel that its long polls wait on.
type liveQueue struct {
	*queue
	changed chan struct{} // closed and replaced when a message may have become visible
}

func (q *liveQueue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// with calls f with the queue of that name, under the lock.
func (qs *queues) with(name string, f func(*liveQueue) error) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	q := qs.byName[name]
	if q == nil {
		return noSuchQueue()
	}
	return f(q)
}

// create makes a queue, or finds the one that there is with the same settings.
func (qs *queues) create(name string, s settings) error {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	if q := qs.byName[name]; q != nil {
		if q.settings != s {
			return refuseAs("QueueNameExists", "QueueAlreadyExists",
				"A queue already exists with the same name and a different value for an attribute")
		}
		return nil
	}
	qs.byName[name] = &liveQueue{queue: newQueue(name, s, time.Now()), changed: make(chan struct{})}
	return nil
}

// send puts a message into a queue and returns its ID.
func (qs *queues) send(name, body string, delay func(settings) time.Duration) (id string, err error) {
	err = qs.with(name, func(q *liveQueue) error {
		if body == "" {
			return invalid("The request must contain the parameter MessageBody.")
		}
		if len(body) > q.settings.maxBody {
			return invalid("One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.settings.maxBody)
		}
		id = qs.newID()
		now := time.Now()
		q.put(now, id, body, now, delay(q.settings))
		q.wake()
		return nil
	})
	return id, err
}

// receive waits until there is something to deliver, at most for wait and not
// after ctx has ended. A negative hide or wait means the queue's own.
func (qs *queues) receive(ctx context.Context, name string, most int, hide, wait time.Duration) ([]delivery, error) {
	var end time.Time
	for {
		var (
			out     []delivery
			changed <-chan struct{}
			pause   time.Duration
		)
		err := qs.with(name, func(q *liveQueue) error {
			now := time.Now()
			if end.IsZero() {
				if wait < 0 {
					wait = q.settings.wait
				}
				end = now.Add(wait)
			}
			if hide < 0 {
				hide = q.settings.visibility
			}
			out = qs.deliver(q, now, most, hide)
			changed, pause = q.changed, end.Sub(now)
			if next, ok := q.next(); ok {
				pause = min(pause, next.Sub(now))
			}
			if now.Before(end) {
				pause = max(pause, time.Millisecond)
			}
			return nil
		})
		if err != nil || len(out) > 0 || pause <= 0 {
			return out, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
		timer.Stop()
	}
}

// deliver takes messages out of q and moves the ones that it gave up. The lock
// is held.
func (qs *queues) deliver(q *liveQueue, now time.Time, most int, hide time.Duration) []delivery {
	out, dead := q.receive(now, most, hide)
	if len(dead) > 0 {
		if target := qs.byName[q.settings.deadLetters]; target != nil {
			for _, m := range dead {
				target.put(now, m.id, m.body, m.sent, 0)
			}
			target.wake()
		}
	}
	if next, ok := q.next(); ok && !next.After(now) {
		q.wake() // some are left, or are to be delivered twice
	}
	return out
}

// CreateQueue makes a queue with SQS's default settings and returns its URL, for
// which Listen must have been called. It panics if the name cannot be a queue's.
func (c *Cloud) CreateQueue(name string) (url string) {
	if !validQueueName(name) {
		panic(fmt.Sprintf("cloud: %q cannot be the name of a queue", name))
	}
	// A queue of that name is as good, whatever its settings.
	_ = c.queues.create(name, defaultSettings)
	return c.queueURL(name)
}

// Redrive makes queue hand a message over to deadLetters once it has been
// received maxReceives times.
func (c *Cloud) Redrive(queue, deadLetters string, maxReceives int) error {
	return c.queues.with(queue, func(q *liveQueue) error {
		if c.queues.byName[deadLetters] == nil {
			return noSuchQueue()
		}
		q.settings.deadLetters, q.settings.maxReceives = deadLetters, maxReceives
		return nil
	})
}

// Send puts a message into a queue, as EventBridge does.
func (c *Cloud) Send(queue, body string) error { return c.SendDelayed(queue, body, 0) }

// SendDelayed puts a message into a queue that shows it only after delay.
func (c *Cloud) SendDelayed(queue, body string, delay time.Duration) error {
	_, err := c.queues.send(queue, body, func(settings) time.Duration { return delay })
	if err != nil {
		return fmt.Errorf("sending to queue %s: %w", queue, err)
	}
	return nil
}

// Duplicate makes each of the next n deliveries of a queue happen twice: the
// message stays visible while its first receiver works on it, and the first
// receipt goes stale with the second delivery.
func (c *Cloud) Duplicate(queue string, n int) error {
	return c.queues.with(queue, func(q *liveQueue) error {
		q.duplicates += n
		return nil
	})
}

// QueueStats returns a queue's statistics, and whether there is such a queue.
func (c *Cloud) QueueStats(name string) (Stats, bool) {
	var s Stats
	err := c.queues.with(name, func(q *liveQueue) error {
		s = q.stats(time.Now())
		return nil
	})
	return s, err == nil
}
