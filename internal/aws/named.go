package aws

import (
	"context"
	"log/slog"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// Named is a Source that finds its queue when it runs, and keeps trying: SQS may
// be out of reach when a controller starts, and the drains that an earlier one
// began have to go on all the same.
type Named struct {
	lookup func(ctx context.Context) (url string, err error)
	open   func(url string) *SQS
	log    *slog.Logger
}

// NewNamed returns a Source that asks lookup for the queue's URL, and then reads
// it with what open returns for it.
func NewNamed(lookup func(ctx context.Context) (url string, err error), open func(url string) *SQS, log *slog.Logger) *Named {
	return &Named{lookup, open, log}
}

// lookupPause is the longest time between two attempts to find a queue.
const lookupPause = 10 * time.Second

// Run emits notices until ctx ends.
func (n *Named) Run(ctx context.Context, emit func(context.Context, interruption.Notice) error) error {
	for pause := 500 * time.Millisecond; ; pause = min(2*pause, lookupPause) {
		url, err := n.lookup(ctx)
		if err == nil {
			return n.open(url).Run(ctx, emit)
		}
		if ctx.Err() != nil {
			return nil
		}
		n.log.Error("no notices are read yet; trying again", "err", err, "in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}
