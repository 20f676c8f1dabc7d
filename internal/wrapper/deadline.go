package wrapper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/evenkeel-dev/evenkeel/lifecycle"
)

const relayPoll = time.Second

// deadlineRelay tells the child when it will be gone, through a file that it can
// poll: one line with an RFC 3339 time. There is no such file before somebody knows.
type deadlineRelay struct {
	dir  string // of ours
	path string
	last string // written
}

func newDeadlineRelay() (*deadlineRelay, error) {
	dir, err := os.MkdirTemp("", "evenkeel-run-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the deadline file: %w", err)
	}
	return &deadlineRelay{dir: dir, path: filepath.Join(dir, "deadline")}, nil
}

func (r *deadlineRelay) close() { _ = os.RemoveAll(r.dir) }

// run keeps the file up to date until ctx ends. That it cannot be written changes
// nothing for the ending: it is a hint.
func (r *deadlineRelay) run(ctx context.Context, l *lifecycle.Lifecycle) {
	tick := time.NewTicker(relayPoll)
	defer tick.Stop()
	ending := l.Reached(lifecycle.Unready)
	for {
		if at, ok := r.deadline(l); ok {
			_ = r.write(at)
		}
		select {
		case <-ctx.Done():
			return
		case <-ending:
			ending = nil
		case <-tick.C:
		}
	}
}

// deadline is the wrapper's own once the ending has begun, less what it needs to
// kill a child that does not keep it; before that it is the announced one.
func (r *deadlineRelay) deadline(l *lifecycle.Lifecycle) (time.Time, bool) {
	if at, ok := l.Deadline(); ok {
		return at.Add(-min(time.Second, l.Stats().Grace/10)), true
	}
	return l.Announced()
}

// write replaces the file in one step: who reads it never sees half a time.
func (r *deadlineRelay) write(at time.Time) error {
	text := at.UTC().Format(time.RFC3339Nano) + "\n"
	if text == r.last {
		return nil
	}
	temp := r.path + ".new"
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the deadline file: %w", err)
	}
	if err := os.Rename(temp, r.path); err != nil {
		return fmt.Errorf("writing the deadline file: %w", err)
	}
	r.last = text
	return nil
}
