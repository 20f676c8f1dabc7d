package aws

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-dev/evenkeel/internal/interruption"
)

// TestNamedKeepsLooking: the queue cannot be found for a minute, then it can.
func TestNamedKeepsLooking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		opened := make(chan string, 1)
		n := NewNamed(func(context.Context) (string, error) {
			if asked++; time.Since(began) < time.Minute {
				return "", errors.New("no route to host")
			}
			return "http://queue", nil
		}, func(url string) *SQS {
			opened <- url
			return NewSQS(newFakeQueue(), SQSConfig{QueueURL: url})
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx, func(context.Context, interruption.Notice) error { return nil }) }()
		if url := <-opened; url != "http://queue" {
			t.Errorf("opened %q", url)
		}
		if took := time.Since(began); took > time.Minute+lookupPause {
			t.Errorf("found after %v", took)
		}
		if asked > 15 {
			t.Errorf("asked %d times within a minute", asked)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestNamedStops while there is nothing to read.
func TestNamedStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNamed(func(context.Context) (string, error) { return "", errors.New("no") }, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx, nil) }()
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}
