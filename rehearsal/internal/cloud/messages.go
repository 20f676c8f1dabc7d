package cloud

import (
	"context"
	"slices"
	"strconv"
	"time"
)

// The fields of inputs and outputs are named as on the wire.

type sendInput struct {
	QueueUrl     string
	Id           string // in a batch
	MessageBody  string
	DelaySeconds *int
}

type sendOutput struct {
	Id               string `json:",omitempty"`
	MessageId        string
	MD5OfMessageBody string
}

func (c *Cloud) sendMessage(_ context.Context, in sendInput) (any, error) {
	return c.send(in)
}

func (c *Cloud) send(in sendInput) (*sendOutput, error) {
	delay, err := durationIn("DelaySeconds", in.DelaySeconds, maxDelay)
	if err != nil {
		return nil, err
	}
	id, err := c.queues.send(queueName(in.QueueUrl), in.MessageBody, func(s settings) time.Duration {
		if delay < 0 {
			return s.delay
		}
		return delay
	})
	if err != nil {
		return nil, err
	}
	return &sendOutput{Id: in.Id, MessageId: id, MD5OfMessageBody: md5Hex(in.MessageBody)}, nil
}

func (c *Cloud) sendMessageBatch(_ context.Context, in batchInput[sendInput]) (any, error) {
	size := 0
	for _, e := range in.Entries {
		size += len(e.MessageBody)
	}
	if size > defaultSettings.maxBody {
		return nil, refuseAs("BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong",
			"Batch requests cannot be longer than %d bytes.", defaultSettings.maxBody)
	}
	return runBatch(c, in, func(e sendInput) string { return e.Id }, func(e sendInput) (any, error) {
		e.QueueUrl = in.QueueUrl
		return c.send(e)
	})
}

type receiveInput struct {
	QueueUrl                    string
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
	AttributeNames              []string
	MessageSystemAttributeNames []string
}

type receivedMessage struct {
	MessageId     string
	ReceiptHandle string
	MD5OfBody     string
	Body          string
	Attributes    map[string]string `json:",omitempty"`
}

func (c *Cloud) receiveMessage(ctx context.Context, in receiveInput) (any, error) {
	most := 1
	if in.MaxNumberOfMessages != nil {
		most = *in.MaxNumberOfMessages
	}
	if most < 1 || most > 10 {
		return nil, invalid("Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", most)
	}
	hide, err := durationIn("VisibilityTimeout", in.VisibilityTimeout, maxVisibility)
	if err != nil {
		return nil, err
	}
	wait, err := durationIn("WaitTimeSeconds", in.WaitTimeSeconds, maxWait)
	if err != nil {
		return nil, err
	}
	deliveries, err := c.queues.receive(ctx, queueName(in.QueueUrl), most, hide, wait)
	if err != nil {
		return nil, err
	}
	wanted := slices.Concat(in.AttributeNames, in.MessageSystemAttributeNames)
	messages := make([]receivedMessage, 0, len(deliveries))
	for _, d := range deliveries {
		messages = append(messages, receivedMessage{
			MessageId: d.id, ReceiptHandle: d.receipt.handle(), MD5OfBody: md5Hex(d.body), Body: d.body,
			Attributes: d.attributes(wanted),
		})
	}
	if len(messages) == 0 {
		return struct{}{}, nil
	}
	return map[string]any{"Messages": messages}, nil
}

// attributes returns the ones that were asked for.
func (d delivery) attributes(names []string) map[string]string {
	all := map[string]string{
		"ApproximateReceiveCount":          strconv.Itoa(d.receives),
		"ApproximateFirstReceiveTimestamp": strconv.FormatInt(d.firstReceived.UnixMilli(), 10),
		"SentTimestamp":                    strconv.FormatInt(d.sent.UnixMilli(), 10),
		"SenderId":                         "AIDAIENQZJOLO23YVJ4VO",
	}
	out := make(map[string]string)
	for _, name := range names {
		if name == "All" {
			return all
		}
		if value, ok := all[name]; ok {
			out[name] = value
		}
	}
	return out
}

type receiptInput struct {
	QueueUrl          string
	Id                string // in a batch
	ReceiptHandle     string
	VisibilityTimeout *int
}

func (in receiptInput) id() string { return in.Id }

// batchID is the whole answer for one entry of a batch of receipts.
type batchID struct{ Id string }

func (c *Cloud) deleteMessage(_ context.Context, in receiptInput) (any, error) {
	r, err := parseHandle(in.ReceiptHandle)
	if err != nil {
		return nil, err
	}
	return batchIDIn(in), c.queues.with(queueName(in.QueueUrl), func(q *liveQueue) error {
		q.remove(r)
		return nil
	})
}

func (c *Cloud) changeVisibility(_ context.Context, in receiptInput) (any, error) {
	r, err := parseHandle(in.ReceiptHandle)
	if err != nil {
		return nil, err
	}
	d, err := durationIn("VisibilityTimeout", in.VisibilityTimeout, maxVisibility)
	if err != nil {
		return nil, err
	}
	if d < 0 {
		return nil, refuse("MissingParameter", "The request must contain the parameter VisibilityTimeout.")
	}
	return batchIDIn(in), c.queues.with(queueName(in.QueueUrl), func(q *liveQueue) error {
		defer q.wake()
		return q.hide(time.Now(), r, d)
	})
}

// batchIDIn is nil outside a batch, where such operations answer nothing.
func batchIDIn(in receiptInput) any {
	if in.Id == "" {
		return nil
	}
	return batchID{in.Id}
}

func (c *Cloud) deleteMessageBatch(ctx context.Context, in batchInput[receiptInput]) (any, error) {
	return runBatch(c, in, receiptInput.id, func(e receiptInput) (any, error) {
		e.QueueUrl = in.QueueUrl
		return c.deleteMessage(ctx, e)
	})
}

func (c *Cloud) changeVisibilityBatch(ctx context.Context, in batchInput[receiptInput]) (any, error) {
	return runBatch(c, in, receiptInput.id, func(e receiptInput) (any, error) {
		e.QueueUrl = in.QueueUrl
		return c.changeVisibility(ctx, e)
	})
}

type batchInput[E any] struct {
	QueueUrl string
	Entries  []E
}

type batchFailure struct {
	Id, Code, Message string
	SenderFault       bool
}

// runBatch serves the entries one by one. The request as a whole fails only for
// what concerns all of them.
func runBatch[E any](c *Cloud, in batchInput[E], id func(E) string, serve func(E) (any, error)) (any, error) {
	const prefix = "AWS.SimpleQueueService."
	switch {
	case len(in.Entries) == 0:
		return nil, refuseAs("EmptyBatchRequest", prefix+"EmptyBatchRequest", "There should be at least one entry in the request.")
	case len(in.Entries) > 10:
		return nil, refuseAs("TooManyEntriesInBatchRequest", prefix+"TooManyEntriesInBatchRequest",
			"Maximum number of entries per request are 10. You have sent %d.", len(in.Entries))
	}
	ids := make(map[string]bool)
	for _, e := range in.Entries {
		if ids[id(e)] {
			return nil, refuseAs("BatchEntryIdsNotDistinct", prefix+"BatchEntryIdsNotDistinct", "Id %s repeated.", id(e))
		}
		if !validQueueName(id(e)) { // the same letters and length
			return nil, refuseAs("InvalidBatchEntryId", prefix+"InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores.")
		}
		ids[id(e)] = true
	}
	if err := c.queues.with(queueName(in.QueueUrl), func(*liveQueue) error { return nil }); err != nil {
		return nil, err
	}
	var out struct {
		Successful []any
		Failed     []batchFailure
	}
	for _, e := range in.Entries {
		answer, err := serve(e)
		if err != nil {
			refused := asAPIError(err)
			out.Failed = append(out.Failed, batchFailure{Id: id(e), Code: refused.queryCode, Message: refused.message, SenderFault: true})
			continue
		}
		out.Successful = append(out.Successful, answer)
	}
	return out, nil
}
