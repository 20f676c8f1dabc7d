package aws

import (
	"cmp"
	"log/slog"
	"time"
)

// Outcome says what became of one receipt of a message.
type Outcome string

// The outcomes. A message has one per receipt; only the first two end it.
const (
	Acknowledged Outcome = "acknowledged"  // durable, and deleted
	Ignored      Outcome = "ignored"       // announces nothing that is acted on, and deleted
	NotOurs      Outcome = "not-ours"      // left to the owner of the instance
	GivenBack    Outcome = "given-back"    // not durable: visible again soon
	Malformed    Outcome = "malformed"     // left to the queue's redrive policy
	DeleteFailed Outcome = "delete-failed" // durable, and will be delivered again
)

// SQSConfig says how one queue is read. Only QueueURL must be set.
//
// The queue's own settings matter as much. A redrive policy needs a
// maxReceiveCount of at least 20, so that neither an outage of the API server
// nor another cluster's messages end in the dead-letter queue. Without a redrive
// policy a malformed message stays until the queue's retention ends it, received
// every 15 minutes.
type SQSConfig struct {
	// QueueURL is the queue that EventBridge sends to.
	QueueURL string
	// Lead is the time between an interruption warning and the end of the
	// machine. If not set, defaults to 2 minutes, which is what EC2 gives.
	Lead time.Duration
	// Pollers is the number of long polls held open. If not set, defaults to 4.
	Pollers int
	// InFlight bounds the messages that are being worked on. If not set, defaults
	// to 1000; it is never less than one.
	InFlight int
	// Visibility is how long a received message stays hidden from other readers.
	// It is extended while the message is being worked on, so it bounds only the
	// delay after a crash. If not set, defaults to 20 s.
	Visibility time.Duration
	// Hold is how long a notice that could not be stored is tried again here
	// before the message is given back. Every receipt counts towards the queue's
	// maxReceiveCount, so giving back at once would turn an outage of the API
	// server into a loss of notices. If not set, defaults to 15 s.
	Hold time.Duration
	// ForeignVisibility is how long a message about an instance that is not ours
	// stays hidden before its owner may take it. If not set, defaults to 5 s.
	ForeignVisibility time.Duration
	// MaxForeign is after how many receipts of a foreign message that time starts
	// to double, up to 15 minutes: by then an owner that reads the queue would
	// have had it. It is never deleted here. If not set, defaults to 12.
	MaxForeign int
	// MaxMalformed is after how many receipts of a malformed message the absence
	// of a redrive policy is logged. If not set, defaults to 20.
	MaxMalformed int

	// Log gets what happens; if nil, nothing is logged.
	Log *slog.Logger
	// Count, if not nil, is called with each outcome, from many goroutines.
	Count func(Outcome)
	// Reachable, if not nil, is called with false when the queue stops to answer
	// and with true when it answers again.
	Reachable func(bool)
}

// withDefaults returns c with every field set.
func (c SQSConfig) withDefaults() SQSConfig {
	c.Lead = cmp.Or(c.Lead, 2*time.Minute)
	c.Pollers = max(1, cmp.Or(c.Pollers, 4))
	c.InFlight = max(1, cmp.Or(c.InFlight, 1000))
	c.Visibility = max(time.Second, cmp.Or(c.Visibility, 20*time.Second))
	c.Hold = cmp.Or(c.Hold, 15*time.Second)
	c.ForeignVisibility = cmp.Or(c.ForeignVisibility, 5*time.Second)
	c.MaxForeign = cmp.Or(c.MaxForeign, 12)
	c.MaxMalformed = cmp.Or(c.MaxMalformed, 20)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Count == nil {
		c.Count = func(Outcome) {}
	}
	if c.Reachable == nil {
		c.Reachable = func(bool) {}
	}
	return c
}
