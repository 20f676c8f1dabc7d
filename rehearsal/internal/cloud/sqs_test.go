package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// startCloud serves a cloud until the test ends.
func startCloud(t *testing.T, cfg Config) *Cloud {
	t.Helper()
	c := New(cfg)
	if err := c.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

// awsConfig is what a client needs to reach the cloud; it tries once.
func awsConfig(c *Cloud) aws.Config {
	return aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(c.URL()),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		RetryMaxAttempts: 1,
	}
}

func sqsClient(c *Cloud) *sqs.Client { return sqs.NewFromConfig(awsConfig(c)) }

// must is for calls whose failure ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSQSLifeOfAMessage(t *testing.T) {
	c := startCloud(t, Config{Seed: 1})
	client, ctx := sqsClient(c), t.Context()

	created := must[*sqs.CreateQueueOutput](t)(client.CreateQueue(ctx, &sqs.CreateQueueInput{
		QueueName: aws.String("interruptions"), Attributes: map[string]string{"VisibilityTimeout": "7"},
	}))
	if want := c.URL() + "/123456789012/interruptions"; *created.QueueUrl != want {
		t.Errorf("queue URL %s, want %s", *created.QueueUrl, want)
	}
	found := must[*sqs.GetQueueUrlOutput](t)(client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("interruptions")}))
	url := found.QueueUrl
	attributes := must[*sqs.GetQueueAttributesOutput](t)(client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: url, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})).Attributes
	if attributes["VisibilityTimeout"] != "7" || attributes["QueueArn"] != "arn:aws:sqs:us-east-1:123456789012:interruptions" {
		t.Errorf("attributes %v", attributes)
	}

	const body = "{\"text\": \"<ÿ & \\u0000 \\\"quoted\\\">\"}"
	sent := must[*sqs.SendMessageOutput](t)(client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(body)}))
	receive := func(wait, visibility int32) []types.Message {
		t.Helper()
		// The SDK checks MD5OfBody against the body.
		return must[*sqs.ReceiveMessageOutput](t)(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait, VisibilityTimeout: visibility,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"ApproximateReceiveCount", "SentTimestamp"},
		})).Messages
	}
	first := receive(0, 30)
	if len(first) != 1 || *first[0].Body != body || *first[0].MessageId != *sent.MessageId {
		t.Fatalf("received %+v", first)
	}
	if first[0].Attributes["ApproximateReceiveCount"] != "1" || first[0].Attributes["SentTimestamp"] == "" {
		t.Errorf("attributes %v", first[0].Attributes)
	}
	if again := receive(0, 30); len(again) != 0 {
		t.Errorf("a hidden message was delivered: %+v", again)
	}
	must[*sqs.ChangeMessageVisibilityOutput](t)(client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{
		QueueUrl: url, ReceiptHandle: first[0].ReceiptHandle, VisibilityTimeout: 0,
	}))
	second := receive(0, 30)
	if len(second) != 1 || second[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("received %+v", second)
	}

	// A stale receipt deletes nothing and is no error.
	must[*sqs.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: first[0].ReceiptHandle}))
	if s, _ := c.QueueStats("interruptions"); s.InFlight != 1 || s.StaleDeletes != 1 {
		t.Errorf("stats %+v", s)
	}
	must[*sqs.DeleteMessageOutput](t)(client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: second[0].ReceiptHandle}))
	if s, _ := c.QueueStats("interruptions"); s.InFlight != 0 || s.Deleted != 1 || s.Received != 2 {
		t.Errorf("stats %+v", s)
	}
}

func TestSQSBatches(t *testing.T) {
	c := startCloud(t, Config{})
	client, ctx, url := sqsClient(c), t.Context(), aws.String(c.CreateQueue("q"))

	var entries []types.SendMessageBatchRequestEntry
	for i := range 10 {
		entries = append(entries, types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("e", i)), MessageBody: aws.String(fmt.Sprint("body ", i))})
	}
	entries[3].DelaySeconds = 901
	out := must[*sqs.SendMessageBatchOutput](t)(client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: url, Entries: entries}))
	if len(out.Successful) != 9 || len(out.Failed) != 1 || *out.Failed[0].Id != "e3" || !out.Failed[0].SenderFault {
		t.Fatalf("sent %+v, failed %+v", out.Successful, out.Failed)
	}
	messages := must[*sqs.ReceiveMessageOutput](t)(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})).Messages
	var hide []types.ChangeMessageVisibilityBatchRequestEntry
	var remove []types.DeleteMessageBatchRequestEntry
	for i, m := range messages {
		id := aws.String(fmt.Sprint("e", i))
		hide = append(hide, types.ChangeMessageVisibilityBatchRequestEntry{Id: id, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 60})
		remove = append(remove, types.DeleteMessageBatchRequestEntry{Id: id, ReceiptHandle: m.ReceiptHandle})
	}
	hide[0].ReceiptHandle, remove[0].ReceiptHandle = aws.String("nonsense"), aws.String("nonsense")
	hidden := must[*sqs.ChangeMessageVisibilityBatchOutput](t)(client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: url, Entries: hide}))
	if len(hidden.Successful) != 8 || len(hidden.Failed) != 1 || *hidden.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("hidden %+v, failed %+v", hidden.Successful, hidden.Failed)
	}
	removed := must[*sqs.DeleteMessageBatchOutput](t)(client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: remove}))
	if len(removed.Successful) != 8 || len(removed.Failed) != 1 {
		t.Errorf("removed %+v, failed %+v", removed.Successful, removed.Failed)
	}
	if s, _ := c.QueueStats("q"); s.Deleted != 8 || s.InFlight != 1 {
		t.Errorf("stats %+v", s)
	}
	must[*sqs.PurgeQueueOutput](t)(client.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: url}))
	if s, _ := c.QueueStats("q"); s.InFlight+s.Visible != 0 {
		t.Errorf("stats after a purge %+v", s)
	}
}

// TestSQSErrors shows that the SDK recognises each refusal, by its type where it
// has one.
func TestSQSErrors(t *testing.T) {
	c := startCloud(t, Config{})
	client, url, missing := sqsClient(c), aws.String(c.CreateQueue("q")), aws.String(c.URL()+"/123456789012/missing")
	if err := c.Send("q", "body"); err != nil {
		t.Fatal(err)
	}
	m := must[*sqs.ReceiveMessageOutput](t)(client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url})).Messages[0]
	for _, row := range []struct {
		name string
		code string
		is   func(error) bool
		call func(context.Context) error
	}{
		{"receive from no queue", "AWS.SimpleQueueService.NonExistentQueue", is[*types.QueueDoesNotExist], func(ctx context.Context) error {
			_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: missing, WaitTimeSeconds: 20})
			return err
		}},
		{"send to no queue", "AWS.SimpleQueueService.NonExistentQueue", is[*types.QueueDoesNotExist], func(ctx context.Context) error {
			_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: missing, MessageBody: aws.String("x")})
			return err
		}},
		{"no such name", "AWS.SimpleQueueService.NonExistentQueue", is[*types.QueueDoesNotExist], func(ctx context.Context) error {
			_, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("missing")})
			return err
		}},
		{"nonsense receipt", "ReceiptHandleIsInvalid", is[*types.ReceiptHandleIsInvalid], func(ctx context.Context) error {
			_, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: aws.String("nonsense")})
			return err
		}},
		{"receipt of a stranger", "InvalidParameterValue", nil, func(ctx context.Context) error {
			_, err := client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: aws.String(receipt{"m9", 1}.handle())})
			return err
		}},
		{"visible again", "AWS.SimpleQueueService.MessageNotInflight", is[*types.MessageNotInflight], func(ctx context.Context) error {
			in := &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle}
			if _, err := client.ChangeMessageVisibility(ctx, in); err != nil {
				return err
			}
			_, err := client.ChangeMessageVisibility(ctx, in)
			return err
		}},
		{"too many at once", "InvalidParameterValue", nil, func(ctx context.Context) error {
			_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 11})
			return err
		}},
		{"body too long", "InvalidParameterValue", nil, func(ctx context.Context) error {
			_, err := client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(strings.Repeat("x", 1<<20+1))})
			return err
		}},
		{"empty batch", "AWS.SimpleQueueService.EmptyBatchRequest", is[*types.EmptyBatchRequest], func(ctx context.Context) error {
			_, err := client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: url, Entries: []types.DeleteMessageBatchRequestEntry{}})
			return err
		}},
		{"same name, other settings", "QueueAlreadyExists", is[*types.QueueNameExists], func(ctx context.Context) error {
			_, err := client.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("q"), Attributes: map[string]string{"DelaySeconds": "9"}})
			return err
		}},
		{"unknown attribute", "InvalidAttributeName", is[*types.InvalidAttributeName], func(ctx context.Context) error {
			_, err := client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{QueueUrl: url, Attributes: map[string]string{"Colour": "red"}})
			return err
		}},
		{"not served", "AWS.SimpleQueueService.UnsupportedOperation", is[*types.UnsupportedOperation], func(ctx context.Context) error {
			_, err := client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: url})
			return err
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := row.call(t.Context())
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode() != row.code {
				t.Fatalf("got %v, want the code %s", err, row.code)
			}
			if row.is != nil && !row.is(err) {
				t.Errorf("the SDK does not know the type of %v", err)
			}
		})
	}
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func TestSQSLongPollWakes(t *testing.T) {
	c := startCloud(t, Config{})
	client, url := sqsClient(c), aws.String(c.CreateQueue("q"))
	poll := func() <-chan []types.Message {
		out := make(chan []types.Message, 1)
		go func() {
			in := &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20, VisibilityTimeout: 1}
			got, err := client.ReceiveMessage(t.Context(), in)
			if err != nil {
				t.Error(err)
				close(out)
				return
			}
			out <- got.Messages
		}()
		return out
	}
	begin := time.Now()
	first := poll()
	if err := c.Send("q", "body"); err != nil {
		t.Fatal(err)
	}
	if got := <-first; len(got) != 1 {
		t.Fatalf("received %v", got)
	}
	// Nothing but the end of its visibility brings the message back.
	if got := <-poll(); len(got) != 1 {
		t.Fatalf("received %v", got)
	}
	if took := time.Since(begin); took < time.Second || took > 15*time.Second {
		t.Errorf("both polls took %s, want a little over the visibility of 1s", took)
	}
}

func TestSQSRedrive(t *testing.T) {
	c := startCloud(t, Config{})
	client, ctx, url := sqsClient(c), t.Context(), aws.String(c.CreateQueue("q"))
	c.CreateQueue("dlq")
	policy, _ := json.Marshal(map[string]any{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dlq", "maxReceiveCount": 2})
	must[*sqs.SetQueueAttributesOutput](t)(client.SetQueueAttributes(ctx, &sqs.SetQueueAttributesInput{
		QueueUrl: url, Attributes: map[string]string{"RedrivePolicy": string(policy)},
	}))
	if err := c.Send("q", "poison"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 1, 0} {
		out := must[*sqs.ReceiveMessageOutput](t)(client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: url}))
		if len(out.Messages) != want {
			t.Fatalf("receipt %d gave %d messages, want %d", i+1, len(out.Messages), want)
		}
		for _, m := range out.Messages {
			must[*sqs.ChangeMessageVisibilityOutput](t)(client.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle}))
		}
	}
	if s, _ := c.QueueStats("dlq"); s.Visible != 1 {
		t.Errorf("dead-letter queue %+v", s)
	}
	if s, _ := c.QueueStats("q"); s.DeadLettered != 1 || s.Visible != 0 {
		t.Errorf("queue %+v", s)
	}
}

func TestUnreachable(t *testing.T) {
	c := startCloud(t, Config{})
	client, url := sqsClient(c), aws.String(c.CreateQueue("q"))
	in := &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 20}
	polling := make(chan error)
	go func() {
		_, err := client.ReceiveMessage(context.Background(), in)
		polling <- err
	}()
	waitFor(t, "the poll", func() bool {
		c.gate.mu.Lock()
		defer c.gate.mu.Unlock()
		return len(c.gate.conns) > 0
	})
	c.Unreachable(true)
	if err := <-polling; err == nil {
		t.Error("the long poll survived the cut")
	}
	if _, err := client.ReceiveMessage(t.Context(), in); err == nil {
		t.Error("a new connection got through")
	}
	c.Unreachable(false)
	if err := c.Send("q", "body"); err != nil {
		t.Fatal(err)
	}
	if out := must[*sqs.ReceiveMessageOutput](t)(client.ReceiveMessage(t.Context(), in)); len(out.Messages) != 1 {
		t.Errorf("received %v after the cut", out.Messages)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	c := startCloud(t, Config{})
	c.CreateQueue("q")
	for _, target := range []string{"AmazonSQS.SendMessage", ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL(), strings.NewReader(strings.Repeat("x", maxRequest+1)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", target)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // cut off while still sending: as good
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("target %q: status %s", target, resp.Status)
		}
	}
}

// waitFor polls a condition; the bound only means "hung".
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30s for %s", what)
		}
	}
}
