// Package aws reads interruption notices from an SQS queue that EventBridge
// sends to. It hides the queue's protocol: polling, visibility, acknowledgement
// and outages. It does not know what a notice leads to, nor which instances are
// nodes of the cluster; whoever takes the notices does.
//
// A message is deleted only once its notice is durable, so a crash at any moment
// costs a redelivery and never a notice. Redelivery, duplicates and two readers
// at once are therefore ordinary, and taking the same notice twice must be
// harmless.
package aws

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Queue is the part of [sqs.Client] that is used.
type Queue interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

var _ Queue = (*sqs.Client)(nil)

const (
	// longPoll is the longest wait that SQS allows.
	longPoll = 20 * time.Second
	// pollTimeout ends a poll over a connection that has died silently.
	pollTimeout = longPoll + 10*time.Second
	// batch is the most messages that SQS returns at once.
	batch = 10
	// emptyPause keeps an endpoint that answers empty without waiting from
	// turning the poll into a busy loop.
	emptyPause = 100 * time.Millisecond
)

// SQS is a source of notices. Make one with [NewSQS].
type SQS struct {
	client Queue
	cfg    SQSConfig
	link   link
	said   said
}

// NewSQS returns a source that reads the queue of cfg. It starts nothing.
func NewSQS(client Queue, cfg SQSConfig) *SQS {
	cfg = cfg.withDefaults()
	return &SQS{client: client, cfg: cfg, link: link{log: cfg.Log, reachable: cfg.Reachable}}
}

// Emit takes a notice. It returns nil only once the notice is durable, and an
// error that matches [interruption.ErrNotOurs] for an instance of somebody else.
// It is called from many goroutines at once and may get the same notice again.
type Emit = func(context.Context, interruption.Notice) error

// Run reads the queue until ctx ends, and returns nil when everything that it
// started has ended. An unreachable queue does not end it. Messages whose notice
// was not durable by then become visible a second later, for a successor.
func (s *SQS) Run(ctx context.Context, emit Emit) error {
	slots := make(chan struct{}, s.cfg.InFlight)
	var all sync.WaitGroup
	for range s.cfg.Pollers {
		all.Go(func() { s.poll(ctx, slots, &all, emit) })
	}
	all.Wait()
	return nil
}

// poll receives messages and starts one goroutine for each, in all, so that a
// slow one holds up neither its batch nor the next.
func (s *SQS) poll(ctx context.Context, slots chan struct{}, all *sync.WaitGroup, emit Emit) {
	failures := 0
	for {
		n := acquire(ctx, slots)
		if n == 0 {
			return
		}
		messages, err := s.receive(ctx, n)
		for range n - len(messages) {
			<-slots
		}
		for _, m := range messages {
			all.Go(func() {
				s.handle(ctx, m, emit)
				<-slots
			})
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.link.down(err)
			pause(ctx, jitter(grow(100*time.Millisecond, failures, 10*time.Second)))
			failures++
		case len(messages) == 0:
			s.link.up()
			failures = 0
			pause(ctx, emptyPause)
		default:
			s.link.up()
			failures = 0
		}
	}
}

// acquire takes one slot, waiting for it, and as many more as are free, up to a
// batch. It returns how many, 0 when ctx has ended.
func acquire(ctx context.Context, slots chan<- struct{}) int {
	if ctx.Err() != nil {
		return 0
	}
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; n < batch; n++ {
		select {
		case slots <- struct{}{}:
		default:
			return n
		}
	}
	return batch
}

// message is what is kept of a received message: not its body, which may have a
// megabyte while its notices wait to be stored.
type message struct {
	id       string
	receipt  string
	receives int // this one included
	notices  []interruption.Notice
	err      error // from decoding
}

// receive long-polls for up to n messages. The SDK does not retry it: poll does,
// and knows at the first failure that the queue is unreachable.
func (s *SQS) receive(ctx context.Context, n int) ([]message, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	out, err := s.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl:            &s.cfg.QueueURL,
		MaxNumberOfMessages: int32(n),
		WaitTimeSeconds:     int32(longPoll / time.Second),
		VisibilityTimeout:   seconds(s.cfg.Visibility),
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{
			types.MessageSystemAttributeNameApproximateReceiveCount,
		},
	}, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return nil, err
	}
	seen := time.Now().UTC()
	// More than n cannot come from SQS; what an odd endpoint sends beyond it
	// becomes visible again by itself.
	received := out.Messages[:min(n, len(out.Messages))]
	messages := make([]message, 0, len(received))
	for _, m := range received {
		receives, _ := strconv.Atoi(m.Attributes[string(types.MessageSystemAttributeNameApproximateReceiveCount)])
		notices, err := interruption.DecodeAWS([]byte(aws.ToString(m.Body)), s.cfg.Lead, seen)
		messages = append(messages, message{
			id:       aws.ToString(m.MessageId),
			receipt:  aws.ToString(m.ReceiptHandle),
			receives: max(1, receives),
			notices:  notices,
			err:      err,
		})
	}
	return messages, nil
}
