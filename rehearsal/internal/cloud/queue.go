package cloud

import (
	"container/heap"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"time"
)

// Refusals of the queue core, which the protocol turns into SQS's errors.
var (
	errNoSuchReceipt = errors.New("message does not exist or is not available for visibility timeout change")
	errNotInFlight   = errors.New("message is not in flight")
)

// settings are a queue's attributes that change what it does.
type settings struct {
	visibility time.Duration
	retention  time.Duration
	delay      time.Duration
	wait       time.Duration
	maxBody    int // bytes

	deadLetters string // name of the queue that takes over, empty for none
	maxReceives int    // receipts before it does
}

// defaultSettings are SQS's.
var defaultSettings = settings{
	visibility: 30 * time.Second,
	retention:  4 * 24 * time.Hour,
	maxBody:    1 << 20,
}

// queue is a standard SQS queue as a plain value: every method takes the time,
// nothing waits and nothing is locked. At any moment a message is delayed,
// visible or in flight, and which one follows from the time alone: it is visible
// from visibleAt on.
type queue struct {
	name     string
	settings settings
	created  time.Time
	modified time.Time

	messages schedule
	byID     map[string]*message
	arrivals uint64

	// duplicates is how many of the next deliveries leave the message visible, so
	// that it is delivered a second time while the first is being worked on.
	duplicates int

	counts counts
}

// counts are totals since the queue was made.
type counts struct {
	sent, received, deleted, staleDeletes, deadLettered, expired int
}

// message is one message in a queue.
type message struct {
	id, body      string
	sent          time.Time
	firstReceived time.Time
	visibleAt     time.Time
	receives      int

	arrival uint64 // breaks ties of visibleAt
	index   int    // in the schedule
}

// md5Hex is what SQS calls MD5OfBody.
func md5Hex(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

// receipt identifies one delivery of one message. Only the latest delivery's
// receipt has power over the message.
type receipt struct {
	message string
	receive int
}

// delivery is a copy of a message as it was handed out.
type delivery struct {
	message
	receipt receipt
}

func newQueue(name string, s settings, now time.Time) *queue {
	return &queue{name: name, settings: s, created: now, modified: now, byID: make(map[string]*message)}
}

// put adds a message that becomes visible after delay. A message moved from
// another queue keeps its identity and the time at which it was sent.
func (q *queue) put(now time.Time, id, body string, sent time.Time, delay time.Duration) {
	q.arrivals++
	q.counts.sent++
	m := &message{id: id, body: body, sent: sent, visibleAt: now.Add(delay), arrival: q.arrivals}
	q.byID[id] = m
	heap.Push(&q.messages, m)
}

// receive hands out up to most visible messages, oldest visibility first, and
// hides them. dead are the messages that have been received too often: they have
// left the queue for its dead-letter queue.
func (q *queue) receive(now time.Time, most int, hide time.Duration) (out []delivery, dead []message) {
	var again []*message
	for len(out) < most && len(q.messages) > 0 && !q.messages[0].visibleAt.After(now) {
		m := q.messages[0]
		heap.Pop(&q.messages)
		switch {
		case now.Sub(m.sent) >= q.settings.retention:
			q.counts.expired++
			delete(q.byID, m.id)
			continue
		case q.settings.deadLetters != "" && m.receives >= q.settings.maxReceives:
			q.counts.deadLettered++
			delete(q.byID, m.id)
			dead = append(dead, *m)
			continue
		}
		if m.receives == 0 {
			m.firstReceived = now
		}
		m.receives++
		q.counts.received++
		m.visibleAt = now.Add(hide)
		if q.duplicates > 0 {
			q.duplicates--
			m.visibleAt = now
		}
		again = append(again, m)
		out = append(out, delivery{message: *m, receipt: receipt{m.id, m.receives}})
	}
	// Put back only now: a message hidden for no time must not be taken twice in
	// one answer.
	for _, m := range again {
		heap.Push(&q.messages, m)
	}
	return out, dead
}

// remove deletes the message of a receipt. A receipt that a later delivery
// replaced, or whose message is gone, removes nothing and is no error, as in SQS.
func (q *queue) remove(r receipt) {
	m := q.byID[r.message]
	if m == nil || m.receives != r.receive {
		q.counts.staleDeletes++
		return
	}
	q.counts.deleted++
	delete(q.byID, m.id)
	heap.Remove(&q.messages, m.index)
}

// hide makes the message of a receipt visible after d from now.
func (q *queue) hide(now time.Time, r receipt, d time.Duration) error {
	m := q.byID[r.message]
	if m == nil || m.receives != r.receive {
		return errNoSuchReceipt
	}
	if !m.visibleAt.After(now) {
		return errNotInFlight
	}
	m.visibleAt = now.Add(d)
	heap.Fix(&q.messages, m.index)
	return nil
}

// purge removes every message.
func (q *queue) purge() {
	q.messages = nil
	clear(q.byID)
}

// next returns when the earliest message is, or became, visible.
func (q *queue) next() (time.Time, bool) {
	if len(q.messages) == 0 {
		return time.Time{}, false
	}
	return q.messages[0].visibleAt, true
}

// stats describes the queue at a time.
func (q *queue) stats(now time.Time) Stats {
	s := Stats{
		Sent: q.counts.sent, Received: q.counts.received, Deleted: q.counts.deleted,
		StaleDeletes: q.counts.staleDeletes, DeadLettered: q.counts.deadLettered, Expired: q.counts.expired,
	}
	for _, m := range q.messages {
		switch {
		case !m.visibleAt.After(now):
			s.Visible++
		case m.receives > 0:
			s.InFlight++
		default:
			s.Delayed++
		}
		s.Oldest = max(s.Oldest, now.Sub(m.sent))
	}
	return s
}

// schedule is a heap of messages, the first to be visible on top.
type schedule []*message

func (s schedule) Len() int { return len(s) }

func (s schedule) Less(i, j int) bool {
	if !s[i].visibleAt.Equal(s[j].visibleAt) {
		return s[i].visibleAt.Before(s[j].visibleAt)
	}
	return s[i].arrival < s[j].arrival
}

func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

func (s *schedule) Push(x any) {
	m := x.(*message)
	m.index = len(*s)
	*s = append(*s, m)
}

func (s *schedule) Pop() any {
	old := *s
	m := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	return m
}
