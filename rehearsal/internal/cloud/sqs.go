package cloud

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// sqsOperation is one operation of the AWS JSON 1.0 protocol: a JSON body in, a
// value to be written as JSON out.
type sqsOperation func(ctx context.Context, body []byte) (any, error)

// operation decodes the input of an operation. Fields that are not served, such
// as those of FIFO queues, are ignored, as an older service would.
func operation[In any](serve func(context.Context, In) (any, error)) sqsOperation {
	return func(ctx context.Context, body []byte) (any, error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, refuse("SerializationException", "%v", err)
		}
		return serve(ctx, in)
	}
}

// sqsOperations is the table of what is served.
func (c *Cloud) sqsOperations() map[string]sqsOperation {
	return map[string]sqsOperation{
		"CreateQueue":                  operation(c.createQueue),
		"GetQueueUrl":                  operation(c.getQueueURL),
		"GetQueueAttributes":           operation(c.getQueueAttributes),
		"SetQueueAttributes":           operation(c.setQueueAttributes),
		"PurgeQueue":                   operation(c.purgeQueue),
		"SendMessage":                  operation(c.sendMessage),
		"SendMessageBatch":             operation(c.sendMessageBatch),
		"ReceiveMessage":               operation(c.receiveMessage),
		"DeleteMessage":                operation(c.deleteMessage),
		"DeleteMessageBatch":           operation(c.deleteMessageBatch),
		"ChangeMessageVisibility":      operation(c.changeVisibility),
		"ChangeMessageVisibilityBatch": operation(c.changeVisibilityBatch),
	}
}

func (c *Cloud) serveSQS(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	body, err := io.ReadAll(r.Body)
	var out any
	if err != nil {
		err = refuse("RequestEntityTooLarge", "%v", err)
	} else if serve := c.sqs[name]; serve != nil {
		out, err = serve(r.Context(), body)
	} else {
		err = refuseAs("UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "The action %s is not served.", name)
	}
	if r.Context().Err() != nil {
		// The client has gone or the cloud stops: an empty 200 would be a lie.
		panic(http.ErrAbortHandler)
	}

	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Requestid", c.queues.newID())
	status := http.StatusOK
	if err != nil {
		refused := asAPIError(err)
		c.cfg.Log.Debug("request refused", "service", "sqs", "operation", name, "err", refused)
		// The header carries the name that the query protocol had for the error.
		w.Header().Set("X-Amzn-Query-Error", refused.queryCode+";Sender")
		status = http.StatusBadRequest
		out = map[string]string{"__type": "com.amazonaws.sqs#" + refused.code, "message": refused.message}
	}
	if out == nil {
		out = struct{}{}
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the client is gone if this fails
}

// refuseAs is refuse for an error whose query-protocol name differs.
func refuseAs(code, queryCode, message string, args ...any) *apiError {
	e := refuse(code, message, args...)
	e.queryCode = queryCode
	return e
}

func noSuchQueue() *apiError {
	return refuseAs("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.")
}

func invalid(message string, args ...any) *apiError {
	return refuse("InvalidParameterValue", message, args...)
}

// asAPIError gives the core's refusals the names that SQS has for them.
func asAPIError(err error) *apiError {
	var e *apiError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, errNotInFlight):
		return refuseAs("MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight", "The specified message isn't in flight.")
	case errors.Is(err, errNoSuchReceipt):
		return invalid("Value for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.")
	}
	return refuse("InternalFailure", "%v", err)
}

// queueURL is what SQS calls a queue; queueName is the inverse. Only the last
// element counts, so a URL survives a change of the port.
func (c *Cloud) queueURL(name string) string { return c.URL() + "/" + c.cfg.Account + "/" + name }

func queueName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

func validQueueName(name string) bool {
	if name == "" || len(name) > 80 {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}

// handle and parseHandle write a receipt as the opaque text that clients carry.
func (r receipt) handle() string {
	return base64.StdEncoding.EncodeToString([]byte(r.message + " " + strconv.Itoa(r.receive)))
}

func parseHandle(handle string) (receipt, error) {
	text, err := base64.StdEncoding.DecodeString(handle)
	id, count, ok := strings.Cut(string(text), " ")
	receive, numErr := strconv.Atoi(count)
	if err != nil || !ok || numErr != nil {
		return receipt{}, refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	return receipt{id, receive}, nil
}

// durationIn reads an optional count of seconds. Absent is -1: the queue's own.
func durationIn(name string, value *int, most int) (time.Duration, error) {
	if value == nil {
		return -1, nil
	}
	if *value < 0 || *value > most {
		return 0, invalid("Value %d for parameter %s is invalid. Reason: Must be >= 0 and <= %d.", *value, name, most)
	}
	return time.Duration(*value) * time.Second, nil
}

// The limits of SQS, in seconds.
const (
	maxVisibility = 12 * 60 * 60
	maxDelay      = 15 * 60
	maxWait       = 20
)
