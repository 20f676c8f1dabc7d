package aws

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

var errUnreachable = errors.New("dial tcp: connection refused")

// fakeQueue is a queue in memory with SQS's visibility rules, on the clock of
// the synctest bubble that it is used in.
type fakeQueue struct {
	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	messages map[string]*fakeMessage
	sent     int
	down     bool
	polls    int
	noDelete bool

	// history has one line per call that changed a message: "1s hide m1 20s".
	start   time.Time
	history []string
}

type fakeMessage struct {
	id, body  string
	visibleAt time.Time
	receives  int
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{changed: make(chan struct{}), messages: make(map[string]*fakeMessage), start: time.Now()}
}

func (q *fakeQueue) send(bodies ...string) {
	q.change(func() {
		for _, body := range bodies {
			q.sent++
			id := fmt.Sprintf("m%d", q.sent)
			q.messages[id] = &fakeMessage{id: id, body: body, visibleAt: time.Now()}
		}
	})
}

// show makes a message visible, as if its time were over.
func (q *fakeQueue) show(id string) {
	q.change(func() { q.messages[id].visibleAt = time.Now() })
}

func (q *fakeQueue) setDown(down bool) { q.change(func() { q.down = down }) }

func (q *fakeQueue) change(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *fakeQueue) note(format string, args ...any) {
	q.history = append(q.history, fmt.Sprintf("%s ", time.Since(q.start))+fmt.Sprintf(format, args...))
}

func (q *fakeQueue) log() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]string(nil), q.history...)
}

func (q *fakeQueue) polled() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.polls
}

func (q *fakeQueue) left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

func (q *fakeQueue) receives(id string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if m := q.messages[id]; m != nil {
		return m.receives
	}
	return -1
}

// take returns visible messages, or the channel and the time to wait for.
func (q *fakeQueue) take(in *sqs.ReceiveMessageInput) ([]types.Message, <-chan struct{}, time.Duration, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.down {
		return nil, nil, 0, errUnreachable
	}
	var out []types.Message
	next := time.Hour
	for i := range q.sent + 1 {
		m := q.messages[fmt.Sprintf("m%d", i)]
		if m == nil || len(out) == int(in.MaxNumberOfMessages) {
			continue
		}
		if wait := time.Until(m.visibleAt); wait > 0 {
			next = min(next, wait)
			continue
		}
		m.receives++
		m.visibleAt = time.Now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
		out = append(out, types.Message{
			MessageId: aws.String(m.id), ReceiptHandle: aws.String(fmt.Sprintf("%s/%d", m.id, m.receives)), Body: aws.String(m.body),
			Attributes: map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.receives)},
		})
	}
	return out, q.changed, next, nil
}

func (q *fakeQueue) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.mu.Lock()
	q.polls++
	q.mu.Unlock()
	end := time.Now().Add(time.Duration(in.WaitTimeSeconds) * time.Second)
	for {
		messages, changed, next, err := q.take(in)
		if err != nil {
			return nil, err
		}
		wait := min(next, time.Until(end))
		if len(messages) > 0 || wait <= 0 {
			return &sqs.ReceiveMessageOutput{Messages: messages}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// of returns the message of a receipt, nil if a later receipt replaced it.
func (q *fakeQueue) of(receipt *string) *fakeMessage {
	for id, m := range q.messages {
		if *receipt == fmt.Sprintf("%s/%d", id, m.receives) {
			return m
		}
	}
	return nil
}

func (q *fakeQueue) DeleteMessage(ctx context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.down || q.noDelete {
		return nil, errUnreachable
	}
	if m := q.of(in.ReceiptHandle); m != nil {
		delete(q.messages, m.id)
		q.note("delete %s", m.id)
	}
	return &sqs.DeleteMessageOutput{}, nil
}

func (q *fakeQueue) ChangeMessageVisibility(ctx context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	q.change(func() {
		m := q.of(in.ReceiptHandle)
		switch {
		case q.down:
			err = errUnreachable
		case m == nil:
			err = &types.ReceiptHandleIsInvalid{}
		default:
			m.visibleAt = time.Now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
			q.note("hide %s %ds", m.id, in.VisibilityTimeout)
		}
	})
	return &sqs.ChangeMessageVisibilityOutput{}, err
}
