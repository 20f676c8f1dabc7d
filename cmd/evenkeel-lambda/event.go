package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-lambda-go/events"
)

// message is one event that a function was called with.
type message struct {
	id   string // of the queue's message; empty if there is no queue
	body []byte
}

// envelope is how a queue or a topic calls a function. What EventBridge calls it
// with has no Records.
type envelope struct {
	Records []struct {
		Source    string `json:"eventSource"` // of SQS
		MessageID string `json:"messageId"`
		Body      string `json:"body"`

		TopicSource string `json:"EventSource"` // of SNS
		SNS         struct {
			Message string `json:"Message"`
		} `json:"Sns"`
	} `json:"Records"`
}

// messages returns what a function was called with, by SQS, by SNS, or by
// EventBridge itself. queued says whether failures are reported one by one.
func messages(payload json.RawMessage) (all []message, queued bool, err error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return nil, false, fmt.Errorf("reading the event: %w", err)
	}
	if len(e.Records) == 0 {
		return []message{{body: payload}}, false, nil
	}
	for _, r := range e.Records {
		switch {
		case r.Source == "aws:sqs" && r.MessageID != "":
			queued = true
			all = append(all, message{r.MessageID, []byte(r.Body)})
		case r.SNS.Message != "":
			all = append(all, message{body: []byte(r.SNS.Message)})
		default:
			return nil, false, errors.New("reading the event: its records are neither of SQS nor of SNS")
		}
	}
	return all, queued, nil
}

// response says which messages are to be delivered again.
func response(failed []message) events.SQSEventResponse {
	out := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}} // not null
	for _, m := range failed {
		out.BatchItemFailures = append(out.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: m.id})
	}
	return out
}
